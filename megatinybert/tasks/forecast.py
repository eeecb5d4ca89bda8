"""How long a training stage and those after it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from tqdm import tqdm
from transformers import BertConfig

from megatinybert.config.task import StageTwoConfig, TaskConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import duration
from megatinybert.runtime.trainees import Trainees
from megatinybert.tasks.development import HELD_OUT_ROWS, measured_rows
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.stage_options import SECTIONS, TAUGHT, keeps_answers, measurements_of, steps_of
from megatinybert.tracking.flops import forward_flops, training_flops
from megatinybert.training.stage import Stage

_MAPS = "attention maps"


class Measurement(NamedTuple):
    """Of a model in training. step: optimizer steps done; trained: seconds that those of this process took, without
    measurements, pictures and checkpoints; seconds: of the measurement itself.
    """

    step: int
    trained: float
    seconds: float


class Work(NamedTuple):
    """Operations of a stage: of its steps, and beside these of its measurements on development rows and of answers that
    its teacher gives once.
    """

    training: float
    beside: float = 0.0


def forecast(
    stage: str,
    stages: Sequence[str],
    max_steps: int,
    measured: Sequence[Measurement],
    work: Mapping[str, Work],
    uncounted: Mapping[str, Sequence[str]],
) -> str:
    """What is left of a training stage by its speed between two measurements, and of the stages after it.

    max_steps: of the stage. measured: two, the second after more steps. work: of each stage (`work_of_stages`); the
    stages to come are taken to do theirs at this speed. uncounted: what else each does (`uncounted_in_stages`),
    which is left out, and said to be.
    """
    first, second = measured
    steps = second.step - first.step
    per_step = (second.trained - first.trained) / steps
    left = max_steps - second.step
    seconds = {stage: left * per_step + left / steps * first.seconds}
    of_steps = "the last step" if steps == 1 else f"the last {steps:,} steps"
    left_out = [what for what in uncounted.get(stage, ()) if what == _MAPS]  # the rest is done before the first step
    text = f"stage {stage}: about {_rounded(seconds[stage])} left{_without(left_out)}, by the speed of {of_steps}"
    later = stages[stages.index(stage) + 1 :] if stage in stages else []
    per_operation = per_step * max_steps / work[stage].training
    seconds |= {name: sum(work[name]) * per_operation for name in later if name in work}
    if len(seconds) == 1:
        return text
    parts = ", ".join(f"{name} {_rounded(value)}" for name, value in seconds.items())
    left_out += [what for name in later for what in uncounted.get(name, ())]
    return (
        f"{text}; with the stages after it about {_rounded(sum(seconds.values()))}{_without(left_out)} ({parts}: by "
        "the operations of each, at this stage's speed)"
    )


def with_forecast(
    stage: Stage, name: str, stages: Sequence[str], work: Mapping[str, Work], uncounted: Mapping[str, Sequence[str]]
) -> Stage:
    """The stage, which at its second measurement says how much time is left. The other arguments are `forecast`'s."""
    measured: list[Measurement] = []

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        begun = time.monotonic()
        scalars = stage.measure(trainees, world)
        measured.append(Measurement(trainees.only.global_steps, trainees.seconds, time.monotonic() - begun))
        if len(measured) == 2 and world.is_main:
            tqdm.write(forecast(name, stages, stage.max_steps, measured, work, uncounted), file=sys.stderr)
        return scalars

    return replace(stage, measure=measure)


def work_of_stages(inputs: TaskInputs, rows: EncodedRows) -> dict[str, Work]:
    """Operations of each training stage on as many rows as these, of their mean length; and of eval, which measures
    both models on the development rows.
    """
    config, dev = inputs.config, list(inputs.dev.values())
    count, tokens, length = len(rows), int(rows.lengths.sum()), rows.mean_length
    shapes = {"teacher": inputs.teacher, "student": inputs.student}
    on_all = {model: _on_dev(shape, dev) for model, shape in shapes.items()}
    on_some = {model: _on_dev(shape, dev[:1], HELD_OUT_ROWS) for model, shape in shapes.items()}
    work: dict[str, Work] = {}
    for name, section in SECTIONS.items():
        options = getattr(config, section)
        steps = steps_of(options, count, tokens)
        seen, trained = steps * options.global_batch, "student" if section in TAUGHT else "teacher"
        training = training_flops(shapes[trained], seen, length)
        answers = name in ("teacher", "two")
        measuring = on_all if answers else on_some
        times = measurements_of(config, section, steps, measured_rows(inputs.dev, answers))
        beside = times * measuring[trained]
        if isinstance(options, StageTwoConfig) and keeps_answers(options, count, steps):
            beside += _forward(inputs.teacher, count, length) + on_all["teacher"]
        elif section in TAUGHT:
            training += _forward(inputs.teacher, seen, length)
            beside += times * measuring["teacher"]
        work[name] = Work(training, beside)
    return work | {"eval": Work(0.0, sum(on_all.values()))}


def uncounted_in_stages(config: TaskConfig) -> dict[str, list[str]]:
    """What stages do beside the operations of `work_of_stages`: nobody knows its time before it is done."""
    solving = ["solving"] if config.student.init == "solved" else []
    maps = [_MAPS] if config.monitor.attention_interval != 0 else []
    return {"augment": ["augmentation"], "one": [*solving, *maps], "two": solving}


def _without(left_out: Sequence[str]) -> str:
    *others, last = dict.fromkeys(left_out) or [""]
    return f", without {', '.join(others)} and {last}" if others else f", without {last}" if last else ""


def _rounded(seconds: float) -> str:
    return duration(seconds, digits=2)


def _forward(config: BertConfig, rows: int, length: int) -> int:
    return forward_flops(config, config.num_hidden_layers, rows, length)


def _on_dev(config: BertConfig, splits: Sequence[EncodedRows], most: int | None = None) -> int:
    """Of one forward pass over these splits, which may have longer rows than those of training. most: rows of each."""
    return sum(_forward(config, min(len(rows), most or len(rows)), rows.mean_length) for rows in splits)
