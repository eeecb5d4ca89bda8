"""Batches from sample numbers, for training and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class TrainingData(Protocol):
    """What a run draws from. batch: a pure function of the positions, int64 (B,), which run on across epochs."""

    @property
    def samples(self) -> int: ...
    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]: ...


class HeldOutData(Protocol):
    """Rows that training never sees. batch: of the rows of these numbers, int64 (B,)."""

    def __len__(self) -> int: ...
    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]: ...


def as_tensors(batch: Mapping[str, np.ndarray], device: torch.device) -> dict[str, Tensor]:
    """The same on the device. The host does not wait for the copies: they are of page-locked memory."""
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if device.type != "cuda":
        return tensors
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()}
