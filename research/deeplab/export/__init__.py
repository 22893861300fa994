"""Exports: SavedModel, frozen graph, TensorFlow Lite."""
