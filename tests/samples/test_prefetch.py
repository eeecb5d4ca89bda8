"""One item is made while the one before is used: the same items, at the same places, and errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from megatinybert.runtime.dist import World
from megatinybert.samples.prefetch import one_ahead
from megatinybert.training.step import micro_batches_ahead, rank_micro_batches

WAIT = 20.0  # seconds that nothing here should take


def test_the_next_item_is_made_while_this_one_is_used() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    ahead = one_ahead(items())
    assert not made[0].is_set()
    for number in range(3):
        assert next(ahead) == number
        if number < 2:
            assert made[number + 1].wait(WAIT)
        assert not any(event.is_set() for event in made[number + 2 :])
    assert list(ahead) == []


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = one_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(ahead)


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    ahead = one_ahead(iter(range(1000)))
    assert next(ahead) == 0 and threading.active_count() == before + 1
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


class Numbers:
    """Rows that say which they are."""

    samples = 100

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {"input_ids": positions[:, None]}


@pytest.mark.parametrize(("first", "rank", "ranks"), [(0, 0, 1), (3, 1, 2)])
def test_a_run_gets_the_micro_batches_of_its_steps(first: int, rank: int, ranks: int) -> None:
    world, steps = World(rank, ranks, torch.device("cpu")), range(first, 5)
    found = [list(batches) for batches in micro_batches_ahead(Numbers(), steps, 8, 2, world)]
    expected = [list(rank_micro_batches(Numbers(), step, 8, 2, world)) for step in steps]
    assert len(found) == len(steps) and len(found[0]) == 4 // ranks
    for ours, others in zip(found, expected, strict=True):
        assert [(index, batch["input_ids"].tolist()) for index, batch in ours] == [
            (index, batch["input_ids"].tolist()) for index, batch in others
        ]
