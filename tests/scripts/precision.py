"""One of several ranks, which are started with the variables of a launcher: what --deepspeed auto takes on each.

The first argument says, a letter for each rank, whose device computes bfloat16 natively: "yn" that of rank 0 alone. It
may have several such words, with commas between them. The rest are options of general distillation. Each rank prints
the precision and the reason, a line for each word.
"""

from __future__ import annotations

import os
import sys

import torch
import torch.distributed

from megatinybert.config.load import load_config
from megatinybert.runtime import dist
from megatinybert.training.precision import settle_settings


def main() -> None:
    words, *options = sys.argv[1:]
    torch.distributed.init_process_group("gloo")
    world = dist.World(int(os.environ["RANK"]), torch.distributed.get_world_size(), torch.device("cpu"))
    for capable in words.split(","):
        settings = settle_settings(load_config(options), world.size, capable[world.rank] == "y", world)
        print(f"{capable}: {settings.precision}, as {settings.reason}")
    dist.stop()


if __name__ == "__main__":
    main()
