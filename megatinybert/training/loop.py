"""The loop around the step: when to log, measure, save."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from megatinybert.config.schema import TrainingConfig
from megatinybert.models.capture import padding_mask
from megatinybert.models.load import Teacher, teacher_dtype
from megatinybert.objectives.base import Term, by_group
from megatinybert.runtime.dist import World
from megatinybert.runtime.hardware import find_peak, memory
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.runtime.trainees import Trainees
from megatinybert.tracking.flops import Part, StepWork
from megatinybert.tracking.measurements import tag_prefix
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.tensorboard_layout import hardware_text, layout
from megatinybert.training import checkpoint
from megatinybert.training.checkpoint import Best
from megatinybert.training.engine import arithmetic_dtype
from megatinybert.training.schedule import learning_rate
from megatinybert.training.stage import Facts, Stage
from megatinybert.training.step import StepResult, loss_scale, micro_batches_ahead, train_step


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; raised by all ranks at the same step, before anything of it is saved."""

    raised_by_all_ranks = True  # see dist.is_raised_by_all


@dataclass(frozen=True)
class Run:
    """A stage under way. facts: what its checkpoints record. best: keeps the best weights; None: the last count."""

    stage: Stage
    trainees: Trainees
    facts: Facts
    first_step: int
    best: Best | None
    world: World


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


def fit(run: Run, monitor: Monitor | None) -> None:
    """Train from the first step that is not done to the end. monitor: of rank 0; None on the others."""
    stage, trainees, world, pictures = run.stage, run.trainees, run.world, run.stage.pictures
    config, max_steps, every = stage.config, stage.max_steps, stage.config.run
    pending: list[tuple[int, dict[str, StepResult]]] = []
    seen, watch = _Seen([], []), Stopwatch(world.device)
    work = step_work(trainees, stage.teacher, world)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)  # of what was tried before
    if monitor:
        terms = {name: engine.module.objective.terms for name, engine in trainees.items()}
        monitor.layout(layout(terms, stage.measured))
        monitor.text("hardware", hardware_text(work, world))
    if run.first_step == 0:
        _write(monitor, 0, stage.measure(trainees, world))
        _draw(run, monitor, 0)
    steps = range(run.first_step, max_steps)
    ahead = micro_batches_ahead(stage.data, steps, every.global_batch, stage.micro_batch, world)
    clock = time.perf_counter()
    for step, batches in zip(steps, ahead, strict=True):
        rate = learning_rate(config.optimizer, config.schedule, step, max_steps)
        result = train_step(trainees, stage.teacher, seen.noting(batches), step, every.seed, rate, watch)
        done, last = step + 1, step + 1 == max_steps
        pending.append((done, result))
        if monitor:
            monitor.advance()
        measure = last or done % every.held_out_interval == 0
        store = last or done % every.save_interval == 0
        draw = pictures is not None and (last or done % pictures.interval == 0)
        if not (measure or store or draw or done == 1 or done % every.log_interval == 0):
            continue
        scalars = _read(run, pending)  # waits for the device; all ranks see the same losses
        scalars["optimizer/learning_rate"] = rate
        scalars |= work.speed(seen.shapes, time.perf_counter() - clock)
        scalars |= {f"time/{part}": value for part, value in watch.read().items()}
        scalars["windows/epoch"] = done * every.global_batch / stage.data.samples
        scalars["windows/padding_share"] = sum(map(float, seen.padding)) / len(seen.padding)
        scalars |= memory(world.device)
        pending.clear()
        seen = _Seen([], [])
        if measure:
            measurement = stage.measure(trainees, world)
            scalars |= measurement
            if run.best:
                run.best.consider(done, measurement)
        _write(monitor, done, scalars)
        if draw:
            _draw(run, monitor, done)
        if store:
            facts, keep = dict(run.facts), every.keep_checkpoints
            checkpoint.save(stage.checkpoints, trainees, done, facts, world, keep, every.keep_every)
        clock = time.perf_counter()


def padding_share(batch: dict[str, Tensor]) -> Tensor | float:
    """The share of padding in a micro batch, on the device."""
    mask_BS = padding_mask(batch)
    return 0.0 if mask_BS is None else 1.0 - mask_BS.float().mean()


def _read(run: Run, pending: list[tuple[int, dict[str, StepResult]]]) -> dict[str, float]:
    """Average the losses since the last reading over ranks, check them all, and give the last step's scalars."""
    steps = [step for step, _ in pending]
    scalars: dict[str, float] = {}
    for name, engine in run.trainees.items():
        terms = engine.module.objective.terms
        losses = run.world.mean(torch.stack([result[name].losses for _, result in pending])).tolist()
        for step, values in zip(steps, losses, strict=True):
            _refuse_non_finite(step, values, terms, run.stage.config)
        total, *values = losses[-1]
        prefix = tag_prefix(name, run.trainees)
        scalars[f"{prefix}loss/total"] = total
        scalars |= {f"{prefix}loss/{group}": value for group, value in by_group(terms, values).items()}
        layers = zip(terms, values, strict=True)
        scalars |= {f"{prefix}loss_per_layer/{t.name}": value for t, value in layers if t.name != t.group}
        scalars[f"{prefix}optimizer/gradient_norm"] = float(pending[-1][1][name].gradient_norm)
        scalars[f"{prefix}optimizer/loss_scale"] = loss_scale(engine)
        scalars[f"{prefix}optimizer/overflow_count"] = float(engine.skipped_steps)
    return scalars


def _refuse_non_finite(step: int, values: list[float], terms: list[Term], config: TrainingConfig) -> None:
    bad = [term.name for term, value in zip(terms, values[1:], strict=True) if not math.isfinite(value)]
    if bad or not math.isfinite(values[0]):
        rate = "optimizer.learning_rate" if config.section == "run" else f"{config.section}.learning_rate"
        raise NonFiniteLoss(
            f"step {step}: the loss is not finite ({', '.join(bad) or 'total'}). The newest checkpoint is from before; "
            f"a lower --{rate}, a longer warm-up or --optimizer.gradient_clipping usually helps"
        )


def _write(monitor: Monitor | None, step: int, scalars: dict[str, float]) -> None:
    if monitor:
        monitor.log(step, scalars)


def _draw(run: Run, monitor: Monitor | None, step: int) -> None:
    images = run.stage.pictures.of(run.trainees, step) if run.stage.pictures else {}
    if monitor:
        for tag, image in images.items():
            monitor.image(tag, step, image)


def step_work(trainees: Trainees, teacher: Teacher | None, world: World) -> StepWork:
    """The models that a rank runs in a step. Where the hardware is not known, its peak is measured.

    Every rank calls it: ranks that share a CPU then measure what is left for each.
    """
    models = {}
    if teacher:
        # Of one in 8 bits it is a share of what 16 bits could do, so that its gain is seen.
        dtype = teacher.model.dtype if teacher.quantize == "none" else teacher_dtype("auto", world.device)
        models["teacher"] = teacher.model.config, 1, dtype
    for name, each in trainees.items():
        passes = 3 if any(weight.requires_grad for weight in each.module.student.base_model.parameters()) else 1
        models[name] = each.module.student.config, passes, arithmetic_dtype(each)
    peaks = {dtype: find_peak(dtype, world.device) for dtype in {dtype for _, _, dtype in models.values()}}
    parts = {name: Part(config, passes, peaks[dtype]) for name, (config, passes, dtype) in models.items()}
    return StepWork(parts, world.size)
