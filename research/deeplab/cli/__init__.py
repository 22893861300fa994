"""The frame of scripts: flags, help and errors."""
