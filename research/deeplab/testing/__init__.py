"""Golden numbers of the official code, and helpers for tests."""
