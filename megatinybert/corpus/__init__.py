"""Text to token shards: files found, read, encoded in workers, written so that a build can go on, and opened again."""
