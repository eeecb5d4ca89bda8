"""Encoded rows of random tokens, for tests that run models on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from megatinybert.tasks.rows import EncodedRows
from tests.helpers.toys import VOCABULARY


def encoded_rows(lengths: Sequence[int], seed: int = 0) -> EncodedRows:
    """Rows of these lengths without labels, the second half of each (rounded down) being segment B."""
    random = np.random.default_rng(seed)
    return EncodedRows(
        tokens=random.integers(5, len(VOCABULARY), sum(lengths)).astype(np.uint16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        first=np.array([length - length // 2 for length in lengths], dtype=np.int32),
        labels=None,
        pad=0,
        segments=True,
        truncated=0,
    )
