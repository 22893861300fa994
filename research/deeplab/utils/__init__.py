"""Shared code: checkpoints, files, messages, color maps."""
