"""What such programs need: ranks, files, workers, hardware."""
