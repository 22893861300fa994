"""Shared code: checkpoints, files, devices, messages, color maps."""
