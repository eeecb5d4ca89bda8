"""What any such program needs: ranks, files, worker processes, timing, the hardware."""
