"""Compare a partitioned table of embeddings with the whole one, each rank with ids of its own number.

    RANK=... WORLD_SIZE=... python tests/scripts/embedding_parts.py

Each rank prints one line of JSON for each precision and size of the table: how many rows it holds, and whether all
lookups gave the bits of the whole table.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from megatinybert.models.partitioned_embedding import PartitionedEmbedding
from megatinybert.runtime import dist

WORLD = dist.start()
WIDTH = 5
SHAPES = {0: [(2, 7), (0,), (1, 1)], 1: [(3, 4), (2, 2), (1, 1)], 2: [(0, 7), (9, 9), (1, 1)]}  # of ids, by rank


def table_of(rows: int, dtype: torch.dtype) -> Tensor:
    """The same on every rank, with values that sums and casts would change."""
    table = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(rows)).to(dtype)
    table[0, :4] = torch.tensor([-0.0, 0.0, torch.finfo(dtype).smallest_normal / 2, torch.inf], dtype=dtype)
    return table


def bits(values: Tensor) -> Tensor:
    return values.contiguous().view(torch.uint8)


def main() -> None:
    generator = torch.Generator().manual_seed(WORLD.rank)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for rows in (10, 2):
            table = table_of(rows, dtype)
            parts = PartitionedEmbedding(rows, WIDTH, dtype, WORLD.device, WORLD)
            for start in range(0, rows, 3):
                parts.fill(start, table[start : start + 3] if WORLD.is_main else table[:0])
            whole, equal = nn.Embedding.from_pretrained(table), True
            for shape in SHAPES[WORLD.rank]:
                ids = torch.randint(rows, shape, generator=generator)
                found, expected = parts(ids), whole(ids)
                equal = equal and found.dtype == dtype and found.shape == expected.shape
                equal = equal and torch.equal(bits(found), bits(expected))
            zero = torch.equal(bits(parts(torch.tensor([0]))), bits(table[:1]))  # of all ranks at once
            said = {"dtype": str(dtype), "rows": rows, "held": len(parts.rows), "equal": equal and zero}
            print(json.dumps(said), flush=True)
    dist.stop()


if __name__ == "__main__":
    main()
