"""Text to token shards, and token shards to training windows."""
