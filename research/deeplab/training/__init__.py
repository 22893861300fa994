"""Training: one run, its steps, its loop."""
