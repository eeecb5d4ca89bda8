"""Checkpoints: written, found, read whole and on other numbers of ranks."""
