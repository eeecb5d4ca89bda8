"""Tasks: what they are, their rows, labels and metrics, and what models say of them."""
