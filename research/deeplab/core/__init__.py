"""Layers, backbones and heads: what DeepLab is made of. Knows no flags, files or datasets."""
