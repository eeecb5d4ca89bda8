"""A run's time and memory, estimated from a few steps."""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatinybert.config.missing import nearest_existing
from megatinybert.runtime.dist import World
from megatinybert.runtime.hardware import peak_memory
from megatinybert.runtime.stopwatch import Stopwatch, seconds_of
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.engine import build_engine
from megatinybert.training.loop import learning_rates, pictures_of
from megatinybert.training.ready import Ready, ReadyFamily
from megatinybert.training.schedule import held_out_interval
from megatinybert.training.stage import STUDENT
from megatinybert.training.step import micro_batches_ahead, train_step

_WARM_UP_STEPS = 2
_FEWEST_STEPS, _MOST_STEPS = 4, 200
_SOLVED_TOKENS = 3_584
MAPS = "set of attention maps"


@dataclass(frozen=True)
class Occasion:
    """Something that a run does now and then. seconds: of one time."""

    name: str
    seconds: float
    times: int


@dataclass(frozen=True)
class Estimate:
    """What is to be expected of a run.

    measured_steps: of the burst. parts: seconds of a step by "data", "teacher", "student", "objective", "optimizer".
    steps: still to do. tokens_per_step: of all ranks. occasions: measurements, pictures, checkpoints.
    checkpoint_bytes: as the room on the disk is checked for. peak_bytes: seen in this one process.
    """

    measured_steps: int
    parts: Mapping[str, float]
    steps: int
    tokens_per_step: int
    occasions: list[Occasion]
    checkpoint_bytes: int
    peak_bytes: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_per_step / sum(self.parts.values())

    @property
    def seconds(self) -> float:
        """Of what is still to do; without starting up."""
        return self.steps * sum(self.parts.values()) + sum(each.seconds * each.times for each in self.occasions)


def estimate(ready: ReadyFamily, ranks: int, alone: World, seconds: float = 10.0) -> Estimate:
    """Train on for about `seconds`, at least a few steps, and save one checkpoint in a folder that is removed again.

    The trainees are spent by it. ranks: of the run to be estimated; alone: this process as a world of its
    own. A step is measured as one rank would do it, with its share of the micro batches and nobody to wait for.
    """
    family, stage, start = ready.family, ready.first.stage, ready.first.start
    run = stage.config.run
    accumulation = run.global_batch // (stage.micro_batch * ranks)
    shown = min(accumulation, 2)  # one micro batch is like the other: two are enough to tell them from the update
    batch = {"train_batch_size": shown * stage.micro_batch, "gradient_accumulation_steps": shown}
    settings = {
        name: dataclasses.replace(each.settings, raw=each.settings.raw | batch) for name, each in family.members.items()
    }
    solving = [found for name, each in ready.members.items() for found in _solving(name, each, ranks, alone)]
    starts = {name: each.start for name, each in ready.members.items()}
    choices = settle_choices(family, starts, settings, ranks, alone)
    maps = ", attention maps" if family.drawing_interval else ""
    alone.say(f"measuring some steps, a held-out measurement{maps} and a checkpoint")
    engines = {
        name: build_engine(each.trainee, each.config.optimizer, settings[name], choices[name])
        for name, each in family.members.items()
    }
    trainees = Trainees(engines)
    watch = Stopwatch(alone.device)

    def train(first: int, steps: int) -> dict[str, float]:
        numbers, micro_batch = range(first, first + steps), stage.micro_batch
        ahead = micro_batches_ahead(stage.data, numbers, shown * micro_batch, micro_batch, alone)
        for step, batches in zip(numbers, ahead, strict=True):
            rates = learning_rates(family, step % stage.max_steps)
            train_step(trainees, family.teacher, batches, step, run.seed, rates, watch)
        return watch.read()

    cold = train(0, _WARM_UP_STEPS)
    steps = min(max(math.ceil(seconds / sum(cold.values())), _FEWEST_STEPS), _MOST_STEPS)
    parts = train(_WARM_UP_STEPS, steps)
    scaled = {name: value * (1 if name == "optimizer" else accumulation / shown) for name, value in parts.items()}
    occasions = [*solving, *_occasions(ready, trainees, ranks, alone)]
    saving = _save_once(family.output, trainees, alone, run.async_save)
    done = -1 if start.checkpoint is None else start.first_step
    occasions.append(Occasion("checkpoint", saving, sum(step > done for step in family.saves)))
    tokens = run.global_batch * stage.length
    to_do, peak = stage.max_steps - start.first_step, peak_memory(alone.device)
    return Estimate(steps, scaled, to_do, tokens, occasions, family.checkpoint_bytes, peak)


def _solving(name: str, ready: Ready, ranks: int, alone: World) -> list[Occasion]:
    """Solving a student, if the run begins with it: on two small numbers of tokens, from which it grows on a line.

    name: of the student.
    """
    solve, config = ready.stage.try_solving, ready.stage.config
    if solve is None or ready.start.checkpoint:
        return []
    tokens = config.student.solve_tokens // ranks
    few = [min(_SOLVED_TOKENS, tokens), min(2 * _SOLVED_TOKENS, tokens)]
    # On how many they are, in whole batches, the bars of solving say.
    called = "the student" if name == STUDENT else f"the student {name}"
    alone.say(f"timing how long it takes to solve {called}, on a small part of the text")
    less, more = (seconds_of(functools.partial(solve, count, alone), alone.device) for count in few)
    slope = max(more - less, 0.0) / (few[1] - few[0]) if few[1] > few[0] else 0.0
    return [Occasion("solving", more + slope * (tokens - few[1]), 1)]


def _occasions(ready: ReadyFamily, trainees: Trainees, ranks: int, alone: World) -> list[Occasion]:
    """Measurements and pictures, each made once; both are made before the first step of a new run, too."""
    stage, new = ready.first.stage, ready.first.start.first_step == 0
    times = _times(held_out_interval(stage.config.run, stage.max_steps), ready.first) + new
    seconds = seconds_of(lambda: stage.measure(trainees, alone), alone.device)
    occasions = [Occasion("held-out measurement", seconds / ranks, times)]
    interval = ready.family.drawing_interval
    if interval:
        times = _times(interval, ready.first) + new
        seconds = seconds_of(lambda: pictures_of(ready.family, trainees, 0), alone.device)
        occasions.append(Occasion(MAPS, seconds, times))
    return occasions


def _times(interval: int, ready: Ready) -> int:
    """How many of the steps still to do are multiples of `interval` or the last."""
    first, last = ready.start.first_step, ready.stage.max_steps
    return last // interval - first // interval + (last % interval != 0)


def _save_once(output: Path, trainees: Trainees, alone: World, later: bool) -> float:
    """Seconds that training stands still for a checkpoint on the disk that the run writes to, beside its output folder.
    later: whether it is written beside training.
    """
    beside = nearest_existing(output.absolute().parent)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=beside) as folder:
        if not later:
            return seconds_of(lambda: checkpoint.save(Path(folder), trainees, 0, {}, alone, keep=1), alone.device)
        path, writers = checkpoint.unpublished(Path(folder), 0), []
        copy = functools.partial(checkpoint.hand_over, path, trainees, alone, later)
        seconds = seconds_of(lambda: writers.extend(copy()), alone.device)
        for writer in writers:
            writer.write_copies()
        return seconds
