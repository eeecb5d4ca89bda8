"""Needed by any such program: ranks, files, workers, timing, hardware."""
