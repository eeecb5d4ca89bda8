"""Losses and gradients that are not finite: the run stops, and what it stopped at is written down."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.runtime.dist import World
from megatinybert.runtime.files import write_atomically
from megatinybert.samples.windows import Windows
from megatinybert.training import checkpoint
from megatinybert.training.stage import Stage
from megatinybert.training.step import StepResult

REPORT = "non_finite.json"  # in the output folder


class NonFiniteLoss(RuntimeError):
    """A loss or gradient became infinite or NaN; raised by all ranks at one step, before anything of it is saved."""

    raised_by_all_ranks = True  # see dist.is_raised_by_all


def check_losses(
    stage: Stage, steps: Sequence[int], own: torch.Tensor, means: list[list[float]], terms: Sequence[str], world: World
) -> None:
    """Raise NonFiniteLoss at the first of `steps` whose losses are not finite. Every rank calls it.

    own: losses of this rank, (N steps, 1 + T): the total and the terms; means: the same over all ranks.
    """
    for number, (step, values) in enumerate(zip(steps, means, strict=True)):
        if not all(map(math.isfinite, values)):
            bad = [term for term, value in zip(terms, values[1:], strict=True) if not math.isfinite(value)]
            here = torch.zeros(world.size, device=world.device)
            here[world.rank] = float(not bool(own[number].isfinite().all()))
            ranks = world.sum(here).nonzero().flatten().tolist() or list(range(world.size))
            _stop(stage, step, f"the loss is not finite ({', '.join(bad) or 'total'})", bad or ["total"], ranks, world)


def check_gradients(
    stage: Stage, engine: DeepSpeedEngine, pending: Sequence[tuple[int, StepResult]], world: World
) -> None:
    """Raise NonFiniteLoss at the first step whose gradient was not finite. Every rank calls it; all see the same.

    From ZeRO stage 1 on DeepSpeed skips such a step, whatever the precision. In fp16 that is how the loss scale is
    found; elsewhere nothing would be learnt any more.
    """
    if engine.fp16_enabled():
        return
    for step, result in pending:
        if not result.applied or not math.isfinite(float(result.gradient_norm)):
            _stop(stage, step, "the gradient is not finite", ["gradient"], list(range(world.size)), world)


def _stop(stage: Stage, step: int, what: str, terms: list[str], ranks: list[int], world: World) -> None:
    """Write down the samples of the step that these ranks had, and raise."""
    newest = checkpoint.newest(stage.checkpoints, checksums=False)[0] if world.is_main else None
    report = stage.output / REPORT
    if world.is_main:
        write_atomically(report, json.dumps(_report(stage, step, terms, ranks, newest, world.size)) + "\n")
    section = stage.config.section
    rate = "optimizer.learning_rate" if section == "run" else f"{section}.learning_rate"
    before = f"The newest checkpoint is from before ({newest})" if newest else "There is no checkpoint yet"
    raise NonFiniteLoss(
        f"step {step}: {what}. {before}; the samples of the step are in {report}; "
        f"a lower --{rate}, a longer warm-up or --optimizer.gradient_clipping usually helps"
    )


def _report(
    stage: Stage, step: int, terms: list[str], ranks: list[int], newest: Path | None, size: int
) -> dict[str, object]:
    """positions: of samples in the order of training, which decide them (`TrainingData.batch`); samples: the windows
    there, where the run draws from one corpus as it is.
    """
    batch, micro_batch = stage.config.run.global_batch, stage.micro_batch
    indices = [index for index in range(batch // micro_batch) if index % size in ranks]
    positions = [(step - 1) * batch + index * micro_batch + np.arange(micro_batch, dtype=np.int64) for index in indices]
    windows = {}
    if isinstance(stage.data, Windows):
        windows = {"samples": [int(sample) for part in positions for sample in stage.data.order(part)[0]]}
    return {
        "step": step,
        "not finite": terms,
        "ranks": ranks,
        "positions": [int(position) for part in positions for position in part],
        **windows,
        "input_ids": [row for part in positions for row in stage.data.batch(part)["input_ids"].tolist()],
        "newest checkpoint": str(newest) if newest else None,
    }
