"""One training step of all trainees from one teacher pass per micro batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from megatinybert.models.load import Teacher
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import TrainingData, as_tensors
from megatinybert.samples.order import Stream, keyed_hash
from megatinybert.samples.prefetch import one_ahead
from megatinybert.training.optimizers import set_learning_rate
from megatinybert.training.trainee import wanted_by


@dataclass(frozen=True)
class StepResult:
    """What one step tells of one trainee, still on the device: reading it is the caller's choice of when to wait.

    losses: float32 (1 + T,), the total and the unweighted terms, mean over this rank's micro batches.
    gradient_norm: of the averaged gradient of all ranks, before clipping. applied: whether DeepSpeed updated the
    weights, the same on all ranks: it skips a step whose gradient is not finite, in most modes.
    """

    losses: Tensor
    gradient_norm: Tensor | float
    applied: bool


def train_step(
    trainees: Trainees,
    teacher: Teacher | None,
    micro_batches: Iterable[tuple[int, dict[str, Tensor]]],
    step: int,
    seed: int,
    learning_rates: Mapping[str, float],
    watch: Stopwatch | None = None,
    skips: bool = False,
) -> dict[str, StepResult]:
    """One optimizer step of every trainee, from one teacher pass for each micro batch, where there is a teacher.

    micro_batches: this rank's share of the global batch, each with its index in the global batch; as many as the
    engines accumulate over. learning_rates: of this step, by trainee. Dropout depends on (seed, step, index) alone:
    ranks and resuming do not change it, nor do other trainees, beside whom each comes to the weights that it would come
    to alone.
    watch: gets the time of "data", "teacher", "student", "objective" and "optimizer". skips: whether a step is left out
    whose loss or gradient is not finite, in whatever mode: weights and optimizer stay as they are (`applied`). At ZeRO
    stage 0 it waits for the device.
    """
    losses: dict[str, list[Tensor]] = {name: [] for name in trainees}
    norms: dict[str, Tensor] = {}
    left_out: set[str] = set()
    watch = watch or Stopwatch(torch.device("cpu"))  # one that nobody reads
    watch.start()
    for name, engine in trainees.items():
        set_learning_rate(engine.optimizer.param_groups, learning_rates[name])
    wanted = wanted_by(engine.module for engine in trainees.values())
    for index, batch in micro_batches:
        watch.lap("data")
        features = teacher.features(batch, wanted) if teacher else None
        watch.lap("teacher")
        for name, engine in trainees.items():
            torch.manual_seed(int(keyed_hash(seed, step, index, 0, Stream.DROPOUT) >> np.uint64(1)))
            total, values, _ = engine(batch, engine.module.sees(features), watch)  # laps of student and objective
            if skips:  # then the gradient is not finite either, on no rank
                total = total * torch.where(values.isfinite().all(), 1.0, torch.nan).to(total.dtype)
            engine.backward(total)  # a lap of the objective
            watch.lap("student")
            if engine.zero_optimization_stage() == 0 and engine.is_gradient_accumulation_boundary():
                norms[name] = _gradient_norm(engine)
            if skips and name in norms and not bool(norms[name].isfinite()):
                _step_without_update(engine)
                left_out.add(name)
            else:
                engine.step()
            watch.lap("optimizer")
            losses[name].append(values)
        del features  # else they would stay in memory in the teacher's next pass
    return {
        name: StepResult(
            torch.stack(losses[name]).mean(dim=0),
            norms.get(name, engine.get_global_grad_norm()),
            engine.was_step_applied() and name not in left_out,
        )
        for name, engine in trainees.items()
    }


def rank_micro_batches(
    data: TrainingData, step: int, global_batch: int, micro_batch: int, world: World
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """The micro batches of a step that are this rank's: rank, rank + world size, ..."""
    for index, batch in _rank_batches(data, step, global_batch, micro_batch, world):
        yield index, as_tensors(batch, world.device)


def micro_batches_ahead(
    data: TrainingData, steps: range, global_batch: int, micro_batch: int, world: World
) -> Iterator[Iterator[tuple[int, dict[str, Tensor]]]]:
    """`rank_micro_batches` of one step after the other, each made while the one before is trained on."""
    made = one_ahead(batch for step in steps for batch in _rank_batches(data, step, global_batch, micro_batch, world))
    placed = ((index, as_tensors(batch, world.device)) for index, batch in made)
    for _ in steps:
        yield itertools.islice(placed, global_batch // (micro_batch * world.size))


def _rank_batches(
    data: TrainingData, step: int, global_batch: int, micro_batch: int, world: World
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    first = step * global_batch
    for index in range(world.rank, global_batch // micro_batch, world.size):
        yield index, data.batch(first + index * micro_batch + np.arange(micro_batch, dtype=np.int64))


def _gradient_norm(engine: DeepSpeedEngine) -> Tensor:
    """Of the averaged gradients, after the last backward: DeepSpeed keeps no norm at stage 0."""
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def _step_without_update(engine: DeepSpeedEngine) -> None:
    """In place of the step that ends an accumulation, at ZeRO stage 0: as DeepSpeed itself skips one at others.

    Its own step cannot do it: it fails to clip where there is no gradient.
    """
    engine.zero_grad()
    engine.micro_steps += 1
    engine.global_steps += 1
    engine.global_samples += engine.train_batch_size()
    engine.skipped_steps += 1


def loss_scale(engine: DeepSpeedEngine) -> float:
    """The factor DeepSpeed multiplies the loss by in fp16; 1 in other modes."""
    return float(engine.optimizer.cur_scale) if engine.fp16_enabled() else 1.0
