"""One of two ranks, which are started with the variables of a launcher: what `World.first` gives each of them.

Rank 0 works for longer than a collective waits, and then at something that fails. Each rank prints what it gets.
"""

from __future__ import annotations

import datetime
import os
import time

import torch
import torch.distributed

from megatinybert.runtime import dist

COLLECTIVES_WAIT, WORK = 3.0, 5.0


def long_work() -> list[str]:
    time.sleep(WORK)
    return [f"made by rank {os.environ['RANK']}"]


def failing_work() -> list[str]:
    raise ValueError("the text is no text")


def main() -> None:
    dist._SECONDS_BETWEEN_MEETINGS = 0.2
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=COLLECTIVES_WAIT))
    world = dist.World(torch.distributed.get_rank(), torch.distributed.get_world_size(), torch.device("cpu"))
    print(f"got {world.first(long_work)}")
    try:
        world.first(failing_work)
    except ValueError as error:
        print(f"refused: {error}")
    print(f"{world.count(world.is_main)} of {world.size}")
    dist.stop()


if __name__ == "__main__":
    main()
