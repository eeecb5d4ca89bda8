"""Token shards to batches: the order, cut, mixture and masking of windows."""
