"""One training run: checks, engine, loop, checkpoints, exports."""
