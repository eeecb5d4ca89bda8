"""The loop around the step: what is logged, measured, saved and checked, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from megatinybert.config.schema import TrainingConfig
from megatinybert.models.capture import padding_mask
from megatinybert.models.load import Teacher, teacher_dtype
from megatinybert.objectives.base import Term, by_group
from megatinybert.runtime.dist import World
from megatinybert.runtime.hardware import find_peak, memory
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.samples.batches import TrainingData
from megatinybert.tracking.attention_maps import AttentionPictures
from megatinybert.tracking.flops import Part, StepWork
from megatinybert.tracking.monitor import Monitor, tag_prefix
from megatinybert.tracking.panel import hardware_text, layout
from megatinybert.training import checkpoint
from megatinybert.training.checkpoint import Best
from megatinybert.training.engine import StepResult, arithmetic_dtype, loss_scale, micro_batches_ahead, train_step
from megatinybert.training.schedule import learning_rate


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; raised by all ranks at the same step, before anything of it is saved."""


@dataclass(frozen=True)
class Run:
    """Everything a run needs, resolved and checked.

    measure: {tag: value} of the students as they are, the same on all ranks, which all call it. measured: its tags
    beside the losses. pictures: attention maps to draw; None: none. best: keeps the best weights; None: the last count.
    """

    config: TrainingConfig
    engines: Mapping[str, DeepSpeedEngine]
    teacher: Teacher | None
    data: TrainingData
    micro_batch: int
    max_steps: int
    facts: dict[str, Any]
    world: World
    measure: Callable[[], dict[str, float]]
    measured: Sequence[str]
    pictures: AttentionPictures | None = None
    best: Best | None = None

    @property
    def checkpoints(self) -> Path:
        return Path(self.config.run.output_dir) / "checkpoints"


@dataclass
class _Seen:
    """What this rank has trained on since the last reading: shapes, and shares of padding, of its micro batches."""

    shapes: list[tuple[int, int]]
    padding: list[Tensor | float]

    def noting(self, batches: Iterable[tuple[int, dict[str, Tensor]]]) -> Iterator[tuple[int, dict[str, Tensor]]]:
        for index, batch in batches:
            rows, length = batch["input_ids"].shape
            self.shapes.append((rows, length))
            self.padding.append(padding_share(batch))
            yield index, batch


def fit(run: Run, first_step: int, monitor: Monitor | None) -> None:
    """Train from `first_step` to the end. monitor: of rank 0; None on the others."""
    config, world, every = run.config, run.world, run.config.run
    pending: list[tuple[int, dict[str, StepResult]]] = []
    seen, watch = _Seen([], []), Stopwatch(world.device)
    work = step_work(run.engines, run.teacher, world)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)  # of what was tried before
    if monitor:
        terms = {name: engine.module.objective.terms for name, engine in run.engines.items()}
        monitor.layout(layout(terms, run.measured))
        monitor.text("hardware", hardware_text(work, world))
    if first_step == 0:
        _write(monitor, 0, run.measure())
        _draw(run, monitor, 0)
    steps = range(first_step, run.max_steps)
    ahead = micro_batches_ahead(run.data, steps, every.global_batch, run.micro_batch, world)
    clock = time.perf_counter()
    for step, batches in zip(steps, ahead, strict=True):
        rate = learning_rate(config.optimizer, config.schedule, step, run.max_steps)
        result = train_step(run.engines, run.teacher, seen.noting(batches), step, every.seed, rate, watch)
        done, last = step + 1, step + 1 == run.max_steps
        pending.append((done, result))
        if monitor:
            monitor.advance()
        measure = last or done % every.held_out_interval == 0
        store = last or done % every.save_interval == 0
        draw = run.pictures is not None and (last or done % run.pictures.interval == 0)
        if not (measure or store or draw or done == 1 or done % every.log_interval == 0):
            continue
        scalars = _read(run, pending)  # waits for the device; all ranks see the same losses
        scalars["optimizer/learning_rate"] = rate
        scalars |= work.speed(seen.shapes, time.perf_counter() - clock)
        scalars |= {f"time/{part}": value for part, value in watch.read().items()}
        scalars["windows/epoch"] = done * every.global_batch / run.data.samples
        scalars["windows/padding_share"] = sum(map(float, seen.padding)) / len(seen.padding)
        scalars |= memory(world.device)
        pending.clear()
        seen = _Seen([], [])
        if measure:
            measurement = run.measure()
            scalars |= measurement
            if run.best:
                run.best.consider(done, measurement)
        _write(monitor, done, scalars)
        if draw:
            _draw(run, monitor, done)
        if store:
            checkpoint.save(run.checkpoints, run.engines, done, run.facts, world, every.keep_checkpoints)
        clock = time.perf_counter()


def padding_share(batch: dict[str, Tensor]) -> Tensor | float:
    """The share of padding in a micro batch, on the device."""
    mask_BS = padding_mask(batch)
    return 0.0 if mask_BS is None else 1.0 - mask_BS.float().mean()


def _read(run: Run, pending: list[tuple[int, dict[str, StepResult]]]) -> dict[str, float]:
    """Average the losses since the last reading over ranks, check them all, and give the last step's scalars."""
    steps = [step for step, _ in pending]
    scalars: dict[str, float] = {}
    for name, engine in run.engines.items():
        terms = engine.module.objective.terms
        losses = run.world.mean(torch.stack([result[name].losses for _, result in pending])).tolist()
        for step, values in zip(steps, losses, strict=True):
            _refuse_non_finite(step, values, terms)
        total, *values = losses[-1]
        prefix = tag_prefix(name, run.engines)
        scalars[f"{prefix}loss/total"] = total
        scalars |= {f"{prefix}loss/{group}": value for group, value in by_group(terms, values).items()}
        layers = zip(terms, values, strict=True)
        scalars |= {f"{prefix}loss_per_layer/{t.name}": value for t, value in layers if t.name != t.group}
        scalars[f"{prefix}optimizer/gradient_norm"] = float(pending[-1][1][name].gradient_norm)
        scalars[f"{prefix}optimizer/loss_scale"] = loss_scale(engine)
        scalars[f"{prefix}optimizer/overflow_count"] = float(engine.skipped_steps)
    return scalars


def _refuse_non_finite(step: int, values: list[float], terms: list[Term]) -> None:
    bad = [term.name for term, value in zip(terms, values[1:], strict=True) if not math.isfinite(value)]
    if bad or not math.isfinite(values[0]):
        raise NonFiniteLoss(
            f"step {step}: the loss is not finite ({', '.join(bad) or 'total'}). The newest checkpoint is from before; "
            "a lower --optimizer.learning_rate, a longer warm-up or --optimizer.gradient_clipping usually helps"
        )


def _write(monitor: Monitor | None, step: int, scalars: dict[str, float]) -> None:
    if monitor:
        monitor.log(step, scalars)


def _draw(run: Run, monitor: Monitor | None, step: int) -> None:
    images = run.pictures.of(run.engines, step) if run.pictures else {}
    if monitor:
        for tag, image in images.items():
            monitor.image(tag, step, image)


def step_work(engines: Mapping[str, DeepSpeedEngine], teacher: Teacher | None, world: World) -> StepWork:
    """The models that a rank runs in a step. Where the hardware is not known, its peak is measured.

    Every rank calls it: ranks that share a CPU then measure what is left for each.
    """
    models = {}
    if teacher:
        # Of one in 8 bits it is a share of what 16 bits could do, so that its gain is seen.
        dtype = teacher.model.dtype if teacher.quantize == "none" else teacher_dtype("auto", world.device)
        models["teacher"] = teacher.model.config, 1, dtype
    for name, each in engines.items():
        passes = 3 if any(weight.requires_grad for weight in each.module.student.base_model.parameters()) else 1
        models[name] = each.module.student.config, passes, arithmetic_dtype(each)
    peaks = {dtype: find_peak(dtype, world.device) for dtype in {dtype for _, _, dtype in models.values()}}
    parts = {name: Part(config, passes, peaks[dtype]) for name, (config, passes, dtype) in models.items()}
    return StepWork(parts, world.size)
