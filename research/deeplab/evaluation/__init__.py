"""Evaluation: predictions, pictures and metrics of semantic and panoptic segmentation."""
