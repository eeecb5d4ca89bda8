"""More training rows by replaced words (Jiao et al. 2020, section 3.2 and algorithm 1)."""
