"""The published checkpoints, and what is known of them."""
