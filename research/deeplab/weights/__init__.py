"""Weights that are no checkpoint of the network as it is: of Keras, and of other networks."""
