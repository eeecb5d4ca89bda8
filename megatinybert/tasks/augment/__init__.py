"""More training rows for a task: rows of it with words replaced (Jiao et al. 2020, section 3.2 and algorithm 1)."""
