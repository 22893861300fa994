"""Reads weights that are not official checkpoints: files of Keras, and values in other shapes."""
