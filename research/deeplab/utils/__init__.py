"""Training, checkpoints and pictures: what the scripts share."""
