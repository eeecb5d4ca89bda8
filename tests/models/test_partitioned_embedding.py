"""A table of embeddings that ranks share is read as a whole one is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from megatinybert.models.partitioned_embedding import PartitionedEmbedding
from megatinybert.runtime.dist import World
from tests.helpers.processes import exit_codes, start_ranks
from tests.helpers.warm_python import warm_python


def test_ranks_with_other_numbers_of_ids_get_the_bits_of_the_whole_table(tmp_path: Path) -> None:
    ranks = start_ranks(3, ["tests/scripts/embedding_parts.py"], [], tmp_path, python=warm_python())
    assert exit_codes(ranks) == [0, 0, 0], (tmp_path / "rank-0.log").read_text()
    for rank, held in enumerate(((4, 1), (4, 1), (2, 0))):  # of 10 rows and of 2
        lines = (tmp_path / f"rank-{rank}.log").read_text().splitlines()
        said = [json.loads(line) for line in lines if line.startswith('{"dtype"')]
        assert [each["held"] for each in said] == [*held] * 3
        assert all(each["equal"] for each in said)


@pytest.mark.parametrize("ids", [[0, 7], [-1, 2]])
def test_an_id_without_a_row_is_refused(ids: list[int], world: World) -> None:
    words = PartitionedEmbedding(7, 3, torch.float32, world.device, world)
    words.fill(0, torch.zeros(7, 3))
    with pytest.raises(IndexError, match=f"token ids {ids[0]} to {ids[1]}, but there are 7 embeddings"):
        words(torch.tensor([ids]))


def test_rows_stay_where_they_are_kept(world: World) -> None:
    """Neither as a parameter, which ZeRO would gather, nor moved or cast with the model."""
    words = PartitionedEmbedding(7, 3, torch.bfloat16, world.device, world)
    assert not list(words.parameters()) and not list(words.buffers())
    assert words.float().rows.dtype == torch.bfloat16
