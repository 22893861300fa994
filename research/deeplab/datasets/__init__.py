"""Dataset descriptors, TFRecord converters and the input pipeline. Knows no models."""
