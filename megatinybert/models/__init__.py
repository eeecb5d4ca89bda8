"""Teacher and student: loaded, built, run with their queries, keys and hidden states captured."""
