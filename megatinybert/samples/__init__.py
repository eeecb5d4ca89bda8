"""Token shards to batches: which window comes when, how it is cut, masked and mixed, one micro batch ahead."""
