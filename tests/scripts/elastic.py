"""General distillation several times in the same ranks, with a record of the samples that each of them trained on.

    DS_ACCELERATOR=cpu PYTHONPATH=. deepspeed --num_accelerators N tests/scripts/elastic.py CASES.json

CASES.json: a list of the options of each run. Rank 0 writes drawn.json into the output folder of each: for every rank
a list of [position in the order of training, checksum of the tokens of the sample that it trained on there].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from numpy.typing import NDArray

from megatinybert.config.load import load_config
from megatinybert.runtime import dist
from megatinybert.runtime.dist import World
from tests.scripts.drawing import noting

DRAWN = "drawn.json"


def main() -> None:
    world = dist.start()  # before what imports DeepSpeed
    from deepspeed.accelerator import get_accelerator

    # The CPU accelerator of DeepSpeed refuses fp16 for want of fast instructions; torch computes it all the same.
    get_accelerator().is_fp16_supported = lambda: True
    linear = torch.nn.functional.linear
    for options in json.loads(Path(sys.argv[-1]).read_text()):
        torch.nn.functional.linear = linear  # an engine of ZeRO 3 puts its own in its place
        train(options, world)
    dist.stop()


def train(options: list[str], world: World) -> None:
    from megatinybert.programs.distil import distil
    from megatinybert.training import loop

    config = load_config(options)
    drawn: list[list[int]] = []

    def note(draws: NDArray[Any]) -> None:
        drawn.extend([int(draw["position"]), int(draw["crc32"])] for draw in draws)

    with mock.patch.object(loop, "train_step", noting(loop.train_step, note)):
        distil(config, world)
    of_ranks: list[Any] = [drawn] * world.size
    if world.size > 1:
        torch.distributed.all_gather_object(of_ranks, drawn)
    if world.is_main:
        Path(config.run.output_dir, DRAWN).write_text(json.dumps(of_ranks))


if __name__ == "__main__":
    main()
