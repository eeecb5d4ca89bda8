"""Text to token shards: found, read, encoded, written, opened."""
