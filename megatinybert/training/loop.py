"""The loop around the step: when to log, measure, save."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from megatinybert.models.capture import padding_mask
from megatinybert.models.load import Teacher, teacher_dtype
from megatinybert.objectives.base import by_group
from megatinybert.runtime.dist import World
from megatinybert.runtime.hardware import find_peak, memory
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.runtime.trainees import Trainees
from megatinybert.tracking.figures import FONT_ADVICE
from megatinybert.tracking.flops import Part, StepWork
from megatinybert.tracking.measurements import tag_prefix
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.tensorboard_layout import hardware_text, layout
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.engine import arithmetic_dtype
from megatinybert.training.finite import BadStep, NonFiniteLoss, bad_steps, leave_out
from megatinybert.training.resume import with_skipped
from megatinybert.training.saving import Saver
from megatinybert.training.schedule import held_out_interval, learning_rate
from megatinybert.training.stage import Facts, Family
from megatinybert.training.step import StepResult, loss_scale, micro_batches_ahead, train_step
from megatinybert.training.stop import Stopped, listening


@dataclass(frozen=True)
class Run:
    """A run under way. facts: what the checkpoints of each member record. best: keeps the best weights of the only one;
    None: the last count. skipped: the steps of each member whose batch was left out (`finite.leave_out`).
    """

    family: Family
    trainees: Trainees
    facts: Mapping[str, Facts]
    first_step: int
    best: Best | None
    world: World
    skipped: Mapping[str, list[int]]

    def facts_now(self) -> dict[str, Facts]:
        """What a checkpoint of each member records."""
        return {name: with_skipped(facts, self.skipped[name]) for name, facts in self.facts.items()}


@dataclass
class _Since:
    """What this rank has done since the last reading: results of steps, and of micro batches shapes and padding."""

    pending: list[tuple[int, dict[str, StepResult]]] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    padding: list[Tensor | float] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def noting(
        self, batches: Iterable[tuple[int, dict[str, Tensor]]], world: World
    ) -> Iterator[tuple[int, dict[str, Tensor]]]:
        for index, batch in batches:
            world.begins_micro_batch()
            rows, length = batch["input_ids"].shape
            self.shapes.append((rows, length))
            self.padding.append(padding_share(batch))
            yield index, batch


@dataclass(frozen=True)
class _Due:
    """What there is to do after a step."""

    stop: bool
    measure: bool
    draw: bool
    store: bool
    log: bool

    def __bool__(self) -> bool:
        return self.takes_long or self.log

    @property
    def takes_long(self) -> bool:
        """Whether it may keep some rank busy while the others wait."""
        return self.stop or self.measure or self.draw or self.store


def fit(run: Run, work: StepWork, monitor: Monitor | None) -> bool:
    """Train from the first step that is not done to the end. -> whether it was asked to end early when it was there.

    work: of `describe`. monitor: of rank 0; None on others. Raises `finite.NonFiniteLoss`, and `stop.Stopped` where the
    run is asked to end early, on all ranks.
    """
    family, stage, trainees, world = run.family, run.family.first, run.trainees, run.world
    max_steps, every = stage.max_steps, stage.config.run
    watch, skips = Stopwatch(world.device), every.skip_bad_batches > 0
    steps, saver = range(run.first_step, max_steps), Saver(family, trainees, world, run.first_step)
    ahead = micro_batches_ahead(stage.data, steps, every.global_batch, stage.micro_batch, world)
    since, drawn = _Since(), run.first_step == 0
    with listening(family.commands, every.time_limit, world) as requests, saver:
        for step, batches in zip(steps, ahead, strict=True):
            rates = learning_rates(family, step)
            batches = since.noting(batches, world)
            result = train_step(trainees, family.teacher, batches, step, every.seed, rates, watch, skips)
            done = step + 1
            since.pending.append((done, result))
            if monitor:
                monitor.advance()
            saver.look()
            requests.saving = saver.seconds
            due = _due(family, done, requests.agreed())
            world.is_in_training(not due.takes_long)  # after the first step, in which kernels may be compiled
            if not due:
                continue
            scalars = _read(run, since.pending, saver)  # waits for the device; all ranks see the same losses
            scalars |= _pace(run, since, work, watch) | _of_each(run, "optimizer/learning_rate", rates)
            if due.measure:
                measurement = stage.measure(trainees, world)
                scalars |= measurement
                if run.best:
                    run.best.consider(done, measurement)
            _write(monitor, done, scalars)
            if due.draw:
                _draw(run, monitor, done, tell=not drawn)
                drawn = True
            if due.store:
                saver.save(done, run.facts_now(), at_once=due.stop or done == max_steps or not every.async_save)
            if due.stop:
                requests.forget()
                raise Stopped(_farewell(done, saver.last, family.resume))
            since = _Since()
            world.is_in_training(True)
        late = requests.came_late()
    world.is_in_training(False)
    return late


def describe(run: Run, monitor: Monitor | None) -> StepWork:
    """Describe the run to the monitor, and measure a new one before its first step: the work of a step."""
    stage, trainees, world = run.family.first, run.trainees, run.world
    work = step_work(trainees, run.family.teacher, world)
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)  # of what was tried before
    if monitor:
        terms = {name: engine.module.objective.terms for name, engine in trainees.items()}
        measured = [tag for each in run.family.members.values() for tag in each.measured]
        monitor.layout(layout(terms, list(dict.fromkeys(measured))))
        monitor.text("hardware", hardware_text(work, world))
        if stage.pictures and stage.pictures.legend:
            monitor.text("labels of the maps", stage.pictures.legend)
            world.say(
                "attention maps: no font of this machine has some characters of the text, so tokens with these are "
                f"numbered: {FONT_ADVICE}"
            )
    if run.first_step == 0:
        _write(monitor, 0, stage.measure(trainees, world))
        _draw(run, monitor, 0, tell=run.family.drawing_interval is not None)
    return work


def _due(family: Family, done: int, asked: bool) -> _Due:
    """What there is to do when `done` steps are done. asked: to stop; after the last step there is nothing to stop."""
    stage, drawing = family.first, family.drawing_interval
    every, last = stage.config.run, done == stage.max_steps
    stop = asked and not last
    return _Due(
        stop=stop,
        measure=last or done % held_out_interval(every, stage.max_steps) == 0,
        draw=drawing is not None and (last or done % drawing == 0),
        store=last or stop or done % every.save_interval == 0,
        log=done == 1 or done % every.log_interval == 0,
    )


def _pace(run: Run, since: _Since, work: StepWork, watch: Stopwatch) -> dict[str, float]:
    """Speed, time and memory of the steps since the last reading, and how far in the data they are."""
    done, _ = since.pending[-1]
    seconds = time.perf_counter() - since.began
    run.trainees.seconds += seconds
    scalars = work.speed(since.shapes, seconds)
    scalars |= {f"time/{part}": value for part, value in watch.read().items()}
    stage = run.family.first
    scalars["windows/epoch"] = done * stage.config.run.global_batch / stage.data.samples
    scalars["windows/padding_share"] = sum(map(float, since.padding)) / len(since.padding)
    return scalars | memory(run.world.device)


def _farewell(done: int, last_saved: int, resume: str) -> str:
    """What a run that ends early says. resume: --run.resume."""
    command = "the same command" if resume == "auto" else "with --run.resume auto the same command"
    unsaved = "" if done == last_saved else ", which could not be saved"
    return f"stopped at step {done:,}{unsaved}; {command} continues from step {last_saved:,}"


def padding_share(batch: dict[str, Tensor]) -> Tensor | float:
    """The share of padding in a micro batch, on the device."""
    mask_BS = padding_mask(batch)
    return 0.0 if mask_BS is None else 1.0 - mask_BS.float().mean()


def _read(run: Run, pending: list[tuple[int, dict[str, StepResult]]], saver: Saver) -> dict[str, float]:
    """Average the losses since the last reading over ranks, check them all, and give the last step's scalars."""
    scalars: dict[str, float] = {}
    for name, engine in run.trainees.items():
        terms, own = engine.module.objective.terms, [(step, result[name]) for step, result in pending]
        losses = run.world.mean(torch.stack([result.losses for _, result in own])).tolist()
        bad = bad_steps(engine, own, losses, [term.name for term in terms], run.world)
        if bad:
            saver.finish()  # so that what is said of the newest checkpoint is so
            for each in bad:
                _leave_out(run, name, each)
        prefix = tag_prefix(name, run.trainees)
        scalars[f"{prefix}optimizer/loss_scale"] = loss_scale(engine)
        scalars[f"{prefix}optimizer/overflow_count"] = float(engine.skipped_steps)
        skipped = {each.step for each in bad}
        good = [number for number, (step, _) in enumerate(own) if step not in skipped]
        if not good:
            continue
        total, *values = losses[good[-1]]
        scalars[f"{prefix}loss/total"] = total
        scalars |= {f"{prefix}loss/{group}": value for group, value in by_group(terms, values).items()}
        layers = zip(terms, values, strict=True)
        scalars |= {f"{prefix}loss_per_layer/{t.name}": value for t, value in layers if t.name != t.group}
        scalars[f"{prefix}optimizer/gradient_norm"] = float(own[good[-1]][1].gradient_norm)
    return scalars


def _leave_out(run: Run, name: str, bad: BadStep) -> None:
    try:
        leave_out(run.family.members[name], bad, run.skipped[name], run.world)
    except NonFiniteLoss as error:
        raise error if run.family.is_one else NonFiniteLoss(f"{name}: {error}") from None


def learning_rates(family: Family, step: int) -> dict[str, float]:
    """Of each member, at the step that follows on `step` steps."""
    return {
        name: learning_rate(each.config.optimizer, each.config.schedule, step, each.max_steps)
        for name, each in family.members.items()
    }


def _of_each(run: Run, tag: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{tag_prefix(name, run.trainees)}{tag}": value for name, value in values.items()}


def _write(monitor: Monitor | None, step: int, scalars: dict[str, float]) -> None:
    if monitor:
        try:
            monitor.log(step, scalars)
        except OSError as error:  # a full disk, perhaps: training is worth more
            print(f"\nwarning: the metrics of step {step:,} are not written: {error}", file=sys.stderr)


def _draw(run: Run, monitor: Monitor | None, step: int, tell: bool) -> None:
    """tell: of the first that are drawn, which may take long, as matplotlib looks for fonts."""
    if tell and monitor:
        tqdm.write("drawing attention maps", file=sys.stderr)
    images = pictures_of(run.family, run.trainees, step)
    if monitor:
        try:
            for tag, image in images.items():
                monitor.image(tag, step, image)
        except OSError as error:
            print(f"\nwarning: the pictures of step {step:,} are not written: {error}", file=sys.stderr)


def pictures_of(family: Family, trainees: Trainees, step: int) -> dict[str, np.ndarray]:
    """The attention maps of all members, by tag, as `AttentionPictures.of` draws them. Collective."""
    images: dict[str, np.ndarray] = {}
    for name, stage in family.members.items():
        drawn = stage.pictures.of(Trainees({name: trainees[name]}), step) if stage.pictures else {}
        images |= {f"{tag_prefix(name, trainees)}{tag}": image for tag, image in drawn.items()}
    return images


def step_work(trainees: Trainees, teacher: Teacher | None, world: World) -> StepWork:
    """The models that a rank runs in a step. Where the hardware is not known, its peak is measured.

    Every rank calls it: ranks that share a CPU then measure what is left for each.
    """
    models = {}
    if teacher and not teacher.is_kept:
        # Of one in 8 bits it is a share of what 16 bits could do, so that its gain is seen.
        dtype = teacher.model.dtype if teacher.quantize == "none" else teacher_dtype("auto", world.device)
        models["teacher"] = teacher.model.config, 1, dtype
    for name, each in trainees.items():
        passes = 3 if any(weight.requires_grad for weight in each.module.student.base_model.parameters()) else 1
        models[name] = each.module.student.config, passes, arithmetic_dtype(each)
    peaks = {dtype: find_peak(dtype, world.device) for dtype in {dtype for _, _, dtype in models.values()}}
    parts = {name: Part(config, passes, peaks[dtype]) for name, (config, passes, dtype) in models.items()}
    return StepWork(parts, world.size)
