"""Training: the state of a run, its steps and its loop."""
