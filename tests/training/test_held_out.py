"""Held-out rows are shared out among the ranks, with a progress bar."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from megatinybert.runtime.dist import World
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.training import held_out


def test_rank_0_shows_how_many_rows_all_ranks_have_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    def kept(*arguments: Any, **settings: Any) -> Any:
        bars.append(progress_bar(*arguments, **settings | {"delay": 0}))
        return bars[-1]

    monkeypatch.setattr(held_out, "progress_bar", kept)
    for rank, shown in ((0, [0, 8, 11]), (1, [0, 0, 0])):
        seen, rows = [], []
        for places, counts in held_out.shares(11, 4, World(rank, 2, torch.device("cpu"))):
            seen.append(bars[-1].n)
            rows += [int(place) for place in places] if counts else []
        assert [*seen, bars[-1].n] == shown and bars[-1].total == 11
        assert rows == ([0, 1, 2, 3, 8, 9, 10] if rank == 0 else [4, 5, 6, 7])
