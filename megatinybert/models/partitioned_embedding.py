"""A table of embeddings of which each rank holds some rows; ranks send one another those that their batches need."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn

from megatinybert.runtime.dist import World


class PartitionedEmbedding(nn.Module):
    """In place of a frozen nn.Embedding of V rows of width E, with the same bits. All ranks have to run it in step.

    Of N ranks each holds V / N rows that follow one another, rounded up. They are no parameter, so that neither ZeRO
    nor `Module.to` moves them, and there is no `weight` for others to read: nobody has it whole.
    """

    def __init__(self, rows: int, width: int, dtype: torch.dtype, home: torch.device, world: World) -> None:
        """rows: V. home: where this rank's rows are kept. They are not yet set."""
        super().__init__()
        self._world, self._count = world, rows
        self._ranks = torch.distributed.get_world_size()  # the doctor's world has more than there are
        self._share = -(-rows // self._ranks)
        self._first = min(world.rank * self._share, rows)
        own = min(self._share, rows - self._first)
        self.rows = torch.empty(own, width, dtype=dtype, device=home)

    @property
    def values(self) -> int:
        """How many the whole table has."""
        return self._count * self.rows.shape[1]

    def fill(self, start: int, rows: Tensor) -> None:
        """Set rows start, start + 1, ... of the table to those that rank 0 gives, (n, E). Every rank calls it.

        rows: of other ranks (0, E), on their devices and of the same dtype.
        """
        ids = torch.arange(start, start + len(rows))
        own, _ = self._world.exchange(rows, self._owned(ids))
        first = max(start - self._first, 0)
        self.rows[first : first + len(own)] = own

    def forward(self, ids: Tensor) -> Tensor:
        """ids: int64 (B, S), of any shape on any rank -> (B, S, E), on the same device.

        Raises IndexError, as nn.Embedding does, where an id has no row.
        """
        wanted, places = ids.unique(return_inverse=True)  # in ascending order, so those of rank 0 come first
        if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < self._count):
            raise IndexError(f"token ids {wanted[0]} to {wanted[-1]}, but there are {self._count:,} embeddings")
        asked, of_each = self._world.exchange(wanted, self._owned(wanted))
        found = self.rows[(asked - self._first).to(self.rows.device)].to(ids.device)
        rows, _ = self._world.exchange(found, of_each)
        return rows[places]

    def _owned(self, ids: Tensor) -> list[int]:
        """How many of these rows each rank holds."""
        counts: list[int] = torch.bincount(ids // self._share, minlength=self._ranks).tolist()
        return counts
