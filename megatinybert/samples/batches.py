"""What training draws from and what measuring reads, whatever the rows are: numbers in, batches out."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class TrainingData(Protocol):
    """What a run draws from. batch: a pure function of the positions, int64 (B,), which run on across epochs."""

    @property
    def samples(self) -> int: ...
    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]: ...


class HeldOutData(Protocol):
    """Rows that training never sees. batch: of the rows of these numbers, int64 (B,)."""

    def __len__(self) -> int: ...
    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]: ...
