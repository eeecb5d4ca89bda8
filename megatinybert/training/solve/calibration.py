"""The tokens that a student is solved on: the run's first micro batches, shared out among the ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from megatinybert.models.capture import padding_mask
from megatinybert.runtime.dist import World
from megatinybert.samples.batches import TrainingData, as_tensors

ROWS = 16  # of a batch
_HELD_OUT_EVERY = 7  # batches: ridges are chosen on one of seven, which meets every length in turn
WHOLE = (1.0,)
# Of each four batches of windows, the rows are cut to these shares of their length. A student solved on long rows alone
# is poor at short ones (docs/solved-students.md has the figures).
CUT = (1.0, 0.5, 0.25, 0.125)
TEACHER = "teacher "  # begins the names of the states that enter the teacher's layers, which no student changes
_SHORTEST = 8  # tokens
_CACHED_BYTES = 1 << 30  # of hidden states on one rank; those of more tokens are computed again in each pass


@dataclass
class Batch:
    """Rows of both models' inputs. states: what is kept of hidden states, by name.

    held_out: whether ridges are chosen on it, in place of fitted.
    """

    inputs: dict[str, Tensor]
    held_out: bool
    states: dict[str, Tensor] = field(default_factory=dict)

    @property
    def mask_BS(self) -> Tensor | None:
        return padding_mask(self.inputs)

    def parts(self, of: str) -> dict[str, Tensor]:
        """The states that are kept by names "OF PART": {part: states}."""
        return {
            name.removeprefix(f"{of} "): states for name, states in self.states.items() if name.startswith(f"{of} ")
        }


class Calibration:
    """This rank's batches, as often as they are asked for: about `tokens` of all ranks together, in whole batches.

    The same for any number of ranks: batch i is the i-th of the run, and rank r takes batches r, r + ranks, ...
    """

    def __init__(
        self,
        data: TrainingData,
        tokens: int,
        length: int,
        micro_batch: int,
        world: World,
        shares: Sequence[float] = WHOLE,
    ) -> None:
        """length: tokens of a row. shares: of their length that the rows of the batches are cut to, in turn; only rows
        without padding can be cut.
        """
        self._shares = shares
        per_batch = micro_batch * sum(_cut_length(length, share) for share in shares) / len(shares)
        batches = math.ceil(tokens / per_batch)
        available = max(data.samples // micro_batch, 1)
        self.count = min(batches, available)
        self.passes = 0
        self._asked, self._is_enough = tokens, batches <= available
        self._data, self._micro_batch, self._world = data, min(micro_batch, data.samples), world
        self._kept: dict[int, Batch] = {}
        self._bytes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.passes += 1
        for index in range(self._world.rank, self.count, self._world.size):
            yield self._kept.get(index) or self._open(index)

    def tokens(self) -> int:
        """Of the batches of all ranks, padding not counted: of rows of the length that was given as many as asked for
        or more, as far as there is text.
        """
        return sum(_real_tokens(self._arrays(index)) for index in range(self.count))

    def in_words(self) -> str:
        """How many tokens these are, and why not as many as were asked for."""
        tokens = self.tokens()
        if tokens == self._asked:
            return f"{tokens:,} tokens"
        enough = f"{self._asked:,} asked for, in whole batches"
        why = enough if self._is_enough else f"of {self._asked:,}: there is no more text"
        return f"{tokens:,} tokens ({why})"

    def keep(self, batch: Batch, name: str, states: Tensor) -> None:
        """Remember states of a batch for later passes, as long as there is room."""
        self.forget(batch, name)
        if self._bytes + _size(states) <= _CACHED_BYTES:
            batch.states[name] = states
            self._bytes += _size(states)

    def begin_again(self) -> None:
        """Forget what is not the teacher's own states, for another student to be solved on the same batches."""
        for batch in self._kept.values():
            for name in [name for name in batch.states if not name.startswith(TEACHER)]:
                self.forget(batch, name)

    def forget(self, batch: Batch, name: str) -> None:
        self._bytes -= _size(batch.states.pop(name, None))

    def _arrays(self, index: int) -> dict[str, np.ndarray]:
        positions = index * self._micro_batch + np.arange(self._micro_batch, dtype=np.int64)
        arrays = self._data.batch(positions)
        share = self._shares[index % len(self._shares)]
        return _cut(arrays, _cut_length(arrays["input_ids"].shape[1], share))

    def _open(self, index: int) -> Batch:
        inputs = as_tensors(self._arrays(index), self._world.device)
        batch = Batch(inputs, held_out=self.count > 1 and index % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1)
        size = sum(map(_size, inputs.values()))
        if self._bytes + size <= _CACHED_BYTES:
            self._kept[index] = batch
            self._bytes += size
        return batch


def _cut_length(length: int, share: float) -> int:
    """Tokens of a row that is cut to a share of `length`."""
    return min(length, max(round(length * share), _SHORTEST))


def _cut(arrays: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Rows (B, S) of their first tokens and the last one, which ends them."""
    whole = arrays["input_ids"].shape[1]
    if length == whole:
        return arrays
    assert "attention_mask" not in arrays, "padded rows are not cut"
    kept = np.r_[: length - 1, whole - 1]
    segments = np.r_[: length - 1, length - 2]  # the end belongs to the segment before it
    cut = {name: array[:, segments if name == "token_type_ids" else kept] for name, array in arrays.items()}
    if "position_ids" in cut:
        cut["position_ids"] = arrays["position_ids"][:, :length]
    return cut


def _real_tokens(arrays: dict[str, np.ndarray]) -> int:
    mask_BS = arrays.get("attention_mask")
    return arrays["input_ids"].size if mask_BS is None else int(mask_BS.sum())


def _size(states: Tensor | None) -> int:
    return 0 if states is None else states.numel() * states.element_size()


@torch.no_grad()
def embed(embeddings: Any, batch: Batch) -> Tensor:
    """What BertEmbeddings give for a batch before their LayerNorm: (B, S, D)."""
    ids = batch.inputs["input_ids"]
    segments = batch.inputs.get("token_type_ids", torch.zeros_like(ids))
    positions = batch.inputs.get("position_ids")
    if positions is None:
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
    tables = (embeddings.word_embeddings, embeddings.position_embeddings)
    return tables[0](ids) + tables[1](positions) + embeddings.token_type_embeddings(segments)
