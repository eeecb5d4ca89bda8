"""Files as rows of a task: found, read, checked; and what is wrong with those that cannot be read."""
