"""Tasks: rows, labels, metrics, stages, predictions."""
