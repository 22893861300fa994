"""Reads what annotation tools write: regions and masks of images, one format a file."""
