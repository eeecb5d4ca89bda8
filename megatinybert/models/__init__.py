"""Teacher and student: loaded, built, run with internal states captured."""
