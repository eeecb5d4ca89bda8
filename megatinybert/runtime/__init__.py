"""What any such program needs: ranks, files, worker processes, findings, clocks, what the hardware can do."""
