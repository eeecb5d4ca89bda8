"""Text to token shards: files are found, read, encoded and written; shards are opened."""
