"""How long a run takes and what it needs, from a short burst of its own steps on one process."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.config.general import GeneralConfig
from megatinybert.programs.prepare import Inputs
from megatinybert.runtime.dist import World
from megatinybert.runtime.hardware import peak_memory
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.tracking.attention_maps import AttentionPictures, drawing_interval
from megatinybert.training import checkpoint
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.disk import nearest_existing
from megatinybert.training.engine import build_engine, micro_batches_ahead, train_step
from megatinybert.training.held_out import held_out
from megatinybert.training.schedule import learning_rate

_WARM_UP_STEPS = 2
_FEWEST_STEPS, _MOST_STEPS = 4, 200


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
    checkpoint_bytes, peak_bytes: seen in this one process.
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


def estimate(config: GeneralConfig, inputs: Inputs, ranks: int, alone: World, seconds: float = 10.0) -> Estimate:
    """Train on for about `seconds`, at least a few steps, and save one checkpoint in a folder that is removed again.

    The trainee of `inputs` is spent by it. ranks: of the run to be estimated; alone: this process as a world of its
    own. A step is measured as one rank would do it, with its share of the micro batches and nobody to wait for.
    """
    run = config.run
    accumulation = run.global_batch // (inputs.micro_batch * ranks)
    shown = min(accumulation, 2)  # one micro batch is like the other: two are enough to tell them from the update
    raw = inputs.settings.raw | {
        "train_batch_size": shown * inputs.micro_batch,
        "gradient_accumulation_steps": shown,
    }
    settings = dataclasses.replace(inputs.settings, raw=raw)
    kernels = settle_choices(config, inputs, settings, ranks, alone)
    engines = {"student": build_engine(inputs.trainee, config.optimizer, settings, kernels)}
    watch = Stopwatch(alone.device)

    def train(first: int, steps: int) -> dict[str, float]:
        numbers, micro_batch = range(first, first + steps), inputs.micro_batch
        ahead = micro_batches_ahead(inputs.data, numbers, shown * micro_batch, micro_batch, alone)
        for step, batches in zip(numbers, ahead, strict=True):
            rate = learning_rate(config.optimizer, config.schedule, step % inputs.max_steps, inputs.max_steps)
            train_step(engines, inputs.teacher, batches, step, run.seed, rate, watch)
        return watch.read()

    cold = train(0, _WARM_UP_STEPS)
    steps = min(max(math.ceil(seconds / sum(cold.values())), _FEWEST_STEPS), _MOST_STEPS)
    parts = train(_WARM_UP_STEPS, steps)
    scaled = {name: value * (1 if name == "optimizer" else accumulation / shown) for name, value in parts.items()}
    occasions = _occasions(config, inputs, engines, ranks, alone)
    saving, checkpoint_bytes = _save_once(config, engines, alone)
    occasions.append(Occasion("checkpoint", saving, _times(run.save_interval, inputs)))
    tokens = run.global_batch * config.data.sequence_length
    to_do, peak = inputs.max_steps - inputs.first_step, peak_memory(alone.device)
    return Estimate(steps, scaled, to_do, tokens, occasions, checkpoint_bytes, peak)


def _occasions(
    config: GeneralConfig, inputs: Inputs, engines: Mapping[str, DeepSpeedEngine], ranks: int, alone: World
) -> list[Occasion]:
    """Measurements and pictures, each made once; both are made before the first step of a new run, too."""
    new = inputs.first_step == 0

    def measure() -> object:
        return held_out(engines, inputs.teacher, inputs.held_out_data, inputs.micro_batch, alone)

    times = _times(config.run.held_out_interval, inputs) + new
    occasions = [Occasion("held-out measurement", _seconds_of(measure, alone) / ranks, times)]
    if inputs.maps and inputs.teacher:
        interval = drawing_interval(config.monitor, config.run.held_out_interval, inputs.max_steps)
        rows = inputs.held_out_data
        pictures = AttentionPictures(inputs.maps, inputs.teacher, rows, inputs.tokenizer, alone, interval)
        times = _times(interval, inputs) + new
        seconds = _seconds_of(lambda: pictures.of(engines, 0), alone)
        occasions.append(Occasion("set of attention maps", seconds, times))
    return occasions


def _times(interval: int, inputs: Inputs) -> int:
    """How many of the steps still to do are multiples of `interval` or the last."""
    first, last = inputs.first_step, inputs.max_steps
    return last // interval - first // interval + (last % interval != 0)


def _save_once(config: GeneralConfig, engines: Mapping[str, DeepSpeedEngine], alone: World) -> tuple[float, int]:
    """(seconds, bytes) of a checkpoint on the disk that the run writes to, beside its output folder."""
    beside = nearest_existing(Path(config.run.output_dir).absolute().parent)
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=beside) as folder:
        seconds = _seconds_of(lambda: checkpoint.save(Path(folder), engines, 0, {}, alone, keep=1), alone)
        return seconds, sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _seconds_of(work: Callable[[], object], world: World) -> float:
    """From an idle device to an idle device."""
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    start = time.perf_counter()
    work()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    return time.perf_counter() - start
