"""Losses and gradients that are not finite: the run stops or leaves the batch out, and writes down the samples."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.runtime.dist import World
from megatinybert.runtime.files import write_atomically
from megatinybert.samples.windows import Windows
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.stage import Stage
from megatinybert.training.step import StepResult

REPORT = "non_finite.json"  # in the output folder


class NonFiniteLoss(RuntimeError):
    """A loss or gradient became infinite or NaN; raised by all ranks at one step, before anything of it is saved."""

    raised_by_all_ranks = True  # see dist.is_raised_by_all


@dataclass(frozen=True)
class BadStep:
    """A step whose loss or gradient is not finite. terms: of the loss that are not. ranks: that had them. applied:
    whether the weights were updated by it all the same.
    """

    step: int
    what: str
    terms: list[str]
    ranks: list[int]
    applied: bool


def bad_steps(
    engine: DeepSpeedEngine,
    pending: Sequence[tuple[int, StepResult]],
    means: Sequence[Sequence[float]],
    terms: Sequence[str],
    world: World,
) -> list[BadStep]:
    """The steps of `pending` that have a loss or gradient that is not finite. Every rank calls it; all see the same.

    means: losses of each step, the total and the terms, over all ranks. From ZeRO stage 1 on DeepSpeed skips a step
    whose gradient is not finite, whatever the precision. In fp16 that is how the loss scale is found, and no fault.
    """
    found = []
    for (step, result), values in zip(pending, means, strict=True):
        if not all(map(math.isfinite, values)):
            bad = [term for term, value in zip(terms, values[1:], strict=True) if not math.isfinite(value)]
            here = torch.zeros(world.size, device=world.device)
            here[world.rank] = float(not bool(result.losses.isfinite().all()))
            ranks = world.sum(here).nonzero().flatten().tolist() or list(range(world.size))
            what = f"the loss is not finite ({', '.join(bad) or 'total'})"
            found.append(BadStep(step, what, bad or ["total"], ranks, result.applied))
        elif not engine.fp16_enabled() and not (result.applied and math.isfinite(float(result.gradient_norm))):
            ranks = list(range(world.size))
            found.append(BadStep(step, "the gradient is not finite", ["gradient"], ranks, result.applied))
    return found


def leave_out(stage: Stage, bad: BadStep, before: list[int], world: World) -> None:
    """Note a bad step in `before`, those that the run has left out, and tell it; or raise NonFiniteLoss.

    It raises where --run.skip_bad_batches allows no more, and where the weights were updated. Every rank calls it.
    """
    most, report = stage.config.run.skip_bad_batches, stage.output / REPORT
    skips = len(before) < most and not bad.applied
    newest = checkpoint.newest(stage.checkpoints, checksums=False)[0] if world.is_main else None
    if world.is_main:
        found = _report(stage, bad, world.size)
        skipped = [each for each in _skipped(report) if each["step"] in before]
        content = {"skipped": [*skipped, found]} if skips else {**found, "newest checkpoint": _text(newest)}
        if not skips and skipped:
            content["skipped"] = skipped
        write_atomically(report, json.dumps(content) + "\n")
    if skips:
        before.append(bad.step)
        count = f"{len(before):,} of {most:,} (--run.skip_bad_batches)"
        world.say(f"\nwarning: step {bad.step:,}: {bad.what}; its batch is left out, {count}: {report}")
        return
    section = stage.config.section
    rate = "optimizer.learning_rate" if section == "run" else f"{section}.learning_rate"
    where = f"The newest checkpoint is from before ({newest})" if newest else "There is no checkpoint yet"
    count = f" (--run.skip_bad_batches {most}, and as many were left out before)" if before else ""
    raise NonFiniteLoss(
        f"step {bad.step}: {bad.what}{count}. {where}; the samples of the step are in {report}; "
        f"a lower --{rate}, a longer warm-up or --optimizer.gradient_clipping usually helps"
    )


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _skipped(report: Path) -> list[dict[str, Any]]:
    """What the report says of batches that were left out."""
    try:
        found: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8")).get("skipped", [])
    except (OSError, ValueError):
        return []
    return found


def _report(stage: Stage, bad: BadStep, size: int) -> dict[str, object]:
    """positions: of samples in the order of training, which decide them (`TrainingData.batch`); samples: the windows
    there, where the run draws from one corpus as it is. size: ranks in all.
    """
    batch, micro_batch = stage.config.run.global_batch, stage.micro_batch
    indices = [index for index in range(batch // micro_batch) if index % size in bad.ranks]
    first = (bad.step - 1) * batch
    positions = [first + index * micro_batch + np.arange(micro_batch, dtype=np.int64) for index in indices]
    windows = {}
    if isinstance(stage.data, Windows):
        windows = {"samples": [int(sample) for part in positions for sample in stage.data.order(part)[0]]}
    return {
        "step": bad.step,
        "not finite": bad.terms,
        "ranks": bad.ranks,
        "positions": [int(position) for part in positions for position in part],
        **windows,
        "input_ids": [row for part in positions for row in stage.data.batch(part)["input_ids"].tolist()],
    }
