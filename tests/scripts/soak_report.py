"""What a soak (soak.py) came to: the run compared with the same one undisturbed, and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from tests.scripts.drawing import DRAW
from tests.scripts.soak_run import Outcome, Soaked

TOLERANCE = 1e-5  # of the weights of a run on other ranks, relative: rounding, and what many steps make of it


def draws_of(run: Soaked) -> NDArray[Any]:
    """All records of its processes, with repeats where steps were done again."""
    return np.concatenate([np.fromfile(file, DRAW) for file in run.drawn.glob("*.bin")])


def compared(run: Soaked, undisturbed: Soaked, exact: bool) -> tuple[list[str], str]:
    """(how `run` differs though it should not, what is the same). exact: whether all bits of the state are to be."""
    problems = []
    here, there = draws_of(run), draws_of(undisturbed)
    positions, first = np.unique(there["position"], return_index=True)
    expected = there["crc32"][first]
    same = np.array_equal(np.unique(here["position"]), positions)
    same = same and np.array_equal(expected[np.searchsorted(positions, here["position"])], here["crc32"])
    if not same:
        problems.append("the samples are others, or in another order")
    weights, theirs = (state_of(each.output) for each in (run, undisturbed))
    distance = float((weights - theirs).norm() / theirs.norm())
    if distance > (0.0 if exact else TOLERANCE):
        problems.append(f"the weights differ by {distance:.1e}, relative")
    saved = [load_checkpoint(each.newest()) for each in (run, undisturbed)] if exact else []
    if exact and not equal(*saved):
        problems.append("the last checkpoints differ")
    again = len(here) / len(positions) - 1
    state = "weights and optimizer state equal bit for bit" if exact else f"weights equal to {distance:.1e}"
    said = f"{len(positions):,} samples in the same order ({again:.1%} of them drawn again after a fault); {state}"
    return problems, said


def state_of(output: Path) -> torch.Tensor:
    """All that was trained."""
    files = [load_file(output / name) for name in ("student/model.safetensors", "objective.safetensors")]
    return torch.cat([file[name].flatten().double() for file in files for name in sorted(file)])


def load_checkpoint(folder: Path) -> dict[str, Any]:
    return {file.name: torch.load(file, weights_only=False) for file in sorted(folder.rglob("*.pt"))}


def equal(a: Any, b: Any) -> bool:
    """Of nested plain data and tensors, all bits; of other objects, the type."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b if isinstance(a, (int, float, str, bool, type(None))) else True


def kept(steps: int, rate: float, wall: float) -> float:
    """The share of throughput that is left: seconds that the steps take undisturbed, in those that they took."""
    return (steps - 1) / rate / wall


def report(name: str, steps: int, rate: float, outcome: Outcome, said: str) -> str:
    """In Markdown. rate: steps a second, undisturbed."""
    events, wall = outcome.events, outcome.wall
    lines = ["| fault | times | started again | mean seconds without a step |", "| --- | --- | --- | --- |"]
    for kind in sorted({event.kind for event in events}):
        found = [event for event in events if event.kind == kind]
        waited = float(np.mean([event.seconds for event in found]))
        lines.append(f"| {kind} | {len(found)} | {sum(event.again for event in found)} | {waited:.1f} |")
    lines += [
        "",
        f"{name}: {len(events)} faults in {wall / 60:.1f} minutes; {steps:,} steps, undisturbed {rate:.2f} a "
        f"second; {kept(steps, rate, wall):.1%} of the throughput kept. {said}.",
        *(f"FAILED: {problem}" for problem in outcome.problems),
    ]
    return "\n".join(lines)
