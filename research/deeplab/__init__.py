"""DeepLab, v1 to v3+, for TensorFlow 2 and Keras 3."""

__version__ = "0.1.0"
