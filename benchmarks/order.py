"""The order of samples at a size that no test can enumerate: 1,024 ranks on 10^13 tokens, and 768 from the middle on.

    python benchmarks/order.py [--tokens 1e13] [--ranks 1024 768] [--global-batch 49152] [--micro-batch 16]
        [--shuffle-block 4096] [--probes 1000000] [--json FILE]

Nothing is read: the order is arithmetic (samples/order.py). Each line says what was looked at, and how much of it; the
exit code is 1 where a promise does not hold. Promises: a step's samples are the same for any number of ranks, and every
rank has as many of them as the others; no sample comes twice in an epoch; samples of a step are spread over the corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np
import torch

from benchmarks.measure import environment
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import write_atomically
from megatinybert.samples.batches import TrainingData
from megatinybert.samples.order import SampleOrder
from megatinybert.training.step import rank_micro_batches

_LENGTH = 128  # tokens of a window, of which two are special
_STEPS_LOOKED_AT = 4
_SEED = 42


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Simulate the order of samples of a very large run.")
    parser.add_argument("--tokens", type=float, default=1e13, help="of the corpus (default: 1e13)")
    parser.add_argument(
        "--ranks", type=int, nargs=2, default=[1024, 768], metavar="N", help="before and after (default: 1024 768)"
    )
    parser.add_argument("--global-batch", type=int, default=49_152, help="windows of a step (default: 49152)")
    parser.add_argument("--micro-batch", type=int, default=16, help="windows of a pass on a rank (default: 16)")
    parser.add_argument("--shuffle-block", type=int, default=4096, help="as --data.shuffle_block (default: 4096)")
    parser.add_argument("--probes", type=int, default=1_000_000, help="positions of a look (default: 1000000)")
    parser.add_argument("--json", metavar="FILE", help="also write all figures there")
    options = parser.parse_args(arguments)
    for ranks in options.ranks:
        if options.global_batch % (options.micro_batch * ranks):
            parser.error(
                f"--global-batch {options.global_batch} is not a multiple of --micro-batch {options.micro_batch} "
                f"times {ranks} ranks"
            )
    return options


class Positions:
    """In place of a corpus: a batch is the sample ids of its positions."""

    def __init__(self, order: SampleOrder) -> None:
        self.order = order

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {"samples": self.order(positions)[0]}


def samples_of_step(order: SampleOrder, step: int, ranks: int, options: argparse.Namespace) -> list[np.ndarray]:
    """The sample ids that each rank trains on in a step, as training asks for them."""
    data, cpu = cast(TrainingData, Positions(order)), torch.device("cpu")
    shares = []
    for rank in range(ranks):
        world = World(rank, ranks, cpu)
        batches = rank_micro_batches(data, step, options.global_batch, options.micro_batch, world)
        shares.append(np.concatenate([batch["samples"].numpy() for _, batch in batches]))
    return shares


def simulate(options: argparse.Namespace) -> dict[str, Any]:
    """The figures, and under "broken" the promises that do not hold."""
    samples = int(options.tokens) // (_LENGTH - 2)
    order = SampleOrder(samples, _SEED, options.shuffle_block)
    steps, broken = samples // options.global_batch, []
    before, after = options.ranks
    middle = steps // 2
    for step in np.linspace(middle, steps - 1, _STEPS_LOOKED_AT, dtype=np.int64).tolist():
        old, new = (samples_of_step(order, step, ranks, options) for ranks in (before, after))
        if not np.array_equal(np.sort(np.concatenate(old)), np.sort(np.concatenate(new))):
            broken.append(f"step {step:,} has other samples on {after} ranks than on {before}")
        for ranks, shares in ((before, old), (after, new)):
            if {len(share) for share in shares} != {options.global_batch // ranks}:
                broken.append(f"in step {step:,} the {ranks} ranks do not share the windows evenly")

    # Positions at random and in a row, in one epoch: a mapping that is no permutation would send some to one sample.
    draw = np.random.default_rng(_SEED)
    spread = np.unique(draw.integers(0, samples, options.probes))
    start = int(draw.integers(0, samples - options.probes))
    probes = np.unique(np.concatenate([spread, start + np.arange(options.probes)]))
    began = time.perf_counter()
    ids, epochs = order(probes)
    seconds = time.perf_counter() - began
    twice = len(ids) - len(np.unique(ids))
    if twice or ids.min() < 0 or ids.max() >= samples or epochs.any():
        broken.append(f"{twice:,} samples come twice in an epoch, or lie outside the corpus")

    # The next epoch has an order of its own: hardly a position keeps its sample.
    kept = int((order(spread + samples)[0] == order(spread)[0]).sum())
    first = np.concatenate(samples_of_step(order, middle, before, options))
    return {
        "samples": samples,
        "steps": steps,
        "probes": len(probes),
        "twice": twice,
        "expected_twice_at_random": len(probes) ** 2 / 2 / samples,
        "kept_in_next_epoch": kept,
        "microseconds_per_sample": 1e6 * seconds / len(probes),
        "blocks_of_a_step": len(np.unique(first // options.shuffle_block)),
        "broken": broken,
    }


def table(options: argparse.Namespace, figures: dict[str, Any]) -> str:
    before, after = options.ranks
    rank_us = figures["microseconds_per_sample"] * options.global_batch / before
    rows = [
        ("samples of an epoch", f"{figures['samples']:,}"),
        (f"steps of {options.global_batch:,} windows", f"{figures['steps']:,}"),
        (
            f"the same windows on {before:,} and on {after:,} ranks, as many on each rank",
            f"in {_STEPS_LOOKED_AT} of {_STEPS_LOOKED_AT} steps from the middle to the end"
            if not figures["broken"]
            else "see below",
        ),
        (
            f"samples twice among {figures['probes']:,} positions of an epoch",
            f"{figures['twice']} (of a random mapping: {figures['expected_twice_at_random']:,.0f})",
        ),
        ("positions with the same sample in the next epoch", f"{figures['kept_in_next_epoch']}"),
        (f"blocks of {options.shuffle_block:,} that a step draws from", f"{figures['blocks_of_a_step']:,}"),
        ("time of the order, a sample", f"{figures['microseconds_per_sample']:.2f} us"),
        (f"time of the order, a step of one of {before:,} ranks", f"{rank_us:,.0f} us"),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> int:
    options = parse()
    figures = simulate(options)
    about = environment(torch.device("cpu"), ("numpy", "torch"))
    print(*(f"- {name}: {value}" for name, value in about.items()), "", table(options, figures), sep="\n")
    for line in figures["broken"]:
        print(f"broken: {line}", file=sys.stderr)
    if options.json:
        write_atomically(Path(options.json), json.dumps(figures, indent=2) + "\n")
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
