"""Callbacks of the training loop, one theme a file."""
