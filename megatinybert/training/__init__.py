"""One training run: student and objective, engine, step, loop, checkpoints, checks before it and exports after it."""
