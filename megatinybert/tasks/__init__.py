"""Tasks: their rows, labels and metrics, stages and predictions."""
