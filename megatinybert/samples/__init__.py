"""Shards to batches: order, cut, mixture and masking of windows."""
