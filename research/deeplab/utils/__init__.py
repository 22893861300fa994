"""What several parts of the project need: checkpoints, files, devices, messages, colors."""
