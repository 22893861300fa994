"""Segmentation and panoptic metrics."""
