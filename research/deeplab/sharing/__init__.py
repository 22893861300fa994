"""Devices and hosts that share work, in training and with a trained network."""
