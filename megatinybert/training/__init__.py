"""One training run: checks, engine, step, loop, checkpoints, exports."""
