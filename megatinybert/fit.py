"""The loop around the step: what is logged, measured, saved and checked, and when."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from megatinybert import checkpoint
from megatinybert.attention_maps import AttentionPictures, MapChoice, drawing_interval
from megatinybert.capture import padding_mask
from megatinybert.data.source import HeldOut, Samples
from megatinybert.dist import World
from megatinybert.engine import StepResult, loss_scale, rank_micro_batches, train_step
from megatinybert.evaluate import held_out
from megatinybert.models import Teacher
from megatinybert.monitor import Monitor, memory, tag_prefix
from megatinybert.objectives.base import Term, by_group
from megatinybert.panel import hardware_text, layout, step_work
from megatinybert.schedule import learning_rate
from megatinybert.schema import GeneralConfig
from megatinybert.stopwatch import Stopwatch


class NonFiniteLoss(RuntimeError):
    """A loss became infinite or NaN; raised by all ranks at the same step, before anything of it is saved."""


@dataclass(frozen=True)
class Run:
    """Everything a run needs, resolved and checked. maps: the attention maps to draw; None: none."""

    config: GeneralConfig
    engines: Mapping[str, DeepSpeedEngine]
    teacher: Teacher
    windows: Samples
    held_out: HeldOut
    micro_batch: int
    max_steps: int
    facts: dict[str, Any]
    world: World
    tokenizer: str
    maps: MapChoice | None

    @property
    def checkpoints(self) -> Path:
        return Path(self.config.run.output_dir) / "checkpoints"


def fit(run: Run, first_step: int, monitor: Monitor | None) -> None:
    """Train from `first_step` to the end. monitor: of rank 0; None on the others."""
    config, world = run.config, run.world
    every, length = config.run, config.data.sequence_length
    pending: list[tuple[int, dict[str, StepResult]]] = []
    padding: list[Tensor | float] = []
    work, watch = step_work(run.engines, run.teacher, every.global_batch, length, world), Stopwatch(world.device)
    pictures, drawing = None, drawing_interval(config, run.max_steps)
    if run.maps:
        pictures = AttentionPictures(run.maps, run.teacher, run.held_out, run.tokenizer, world)
    if monitor:
        monitor.layout(layout({name: engine.module.objective.terms for name, engine in run.engines.items()}))
        monitor.text("hardware", hardware_text(work, world))
    if first_step == 0:
        _write(monitor, 0, _measure(run))
        _draw(run, monitor, 0, pictures)
    clock, clock_step = time.perf_counter(), first_step
    for step in range(first_step, run.max_steps):
        rate = learning_rate(config.optimizer, config.schedule, step, run.max_steps)
        batches = rank_micro_batches(run.windows, step, every.global_batch, run.micro_batch, world)
        result = train_step(run.engines, run.teacher, noting_padding(batches, padding), step, every.seed, rate, watch)
        done, last = step + 1, step + 1 == run.max_steps
        pending.append((done, result))
        if monitor:
            monitor.advance()
        measure = last or done % every.held_out_interval == 0
        store = last or done % every.save_interval == 0
        draw = pictures is not None and (last or done % drawing == 0)
        if not (measure or store or draw or done == 1 or done % every.log_interval == 0):
            continue
        scalars = _read(run, pending)  # waits for the device; all ranks see the same losses
        seconds = (time.perf_counter() - clock) / (done - clock_step)
        scalars["optimizer/learning_rate"] = rate
        scalars["speed/tokens_per_second"] = every.global_batch * length / seconds
        scalars |= work.speed(seconds) | {f"time/{part}": value for part, value in watch.read().items()}
        scalars["windows/epoch"] = done * every.global_batch / run.windows.samples
        scalars["windows/padding_share"] = sum(map(float, padding)) / len(padding)
        scalars |= memory(world.device)
        pending.clear()
        padding.clear()
        if measure:
            scalars |= _measure(run)
        _write(monitor, done, scalars)
        if draw:
            _draw(run, monitor, done, pictures)
        if store:
            checkpoint.save(run.checkpoints, run.engines, done, run.facts, world, every.keep_checkpoints)
        clock, clock_step = time.perf_counter(), done


def noting_padding(
    micro_batches: Iterable[tuple[int, dict[str, Tensor]]], shares: list[Tensor | float]
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Pass the micro batches on, and add the share of padding in each to `shares`, on the device."""
    for index, batch in micro_batches:
        mask_BS = padding_mask(batch)
        shares.append(0.0 if mask_BS is None else 1.0 - mask_BS.float().mean())
        yield index, batch


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


def _measure(run: Run) -> dict[str, float]:
    measured = held_out(run.engines, run.teacher, run.held_out, run.micro_batch, run.world)
    return {
        f"{tag_prefix(name, measured)}{tag}": value
        for name, scalars in measured.items()
        for tag, value in scalars.items()
    }


def _write(monitor: Monitor | None, step: int, scalars: dict[str, float]) -> None:
    if monitor:
        monitor.log(step, scalars)


def _draw(run: Run, monitor: Monitor | None, step: int, pictures: AttentionPictures | None) -> None:
    images = pictures.of(run.engines, step) if pictures else {}
    if monitor:
        for tag, image in images.items():
            monitor.image(tag, step, image)
