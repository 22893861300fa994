"""Published checkpoints: facts, downloads, commands and network sizes."""
