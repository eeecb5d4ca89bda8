"""Stages of so few steps that they teach little: told before the first of them begins, and beside scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from megatinybert.config.task import StageConfig, TaskConfig
from megatinybert.runtime.counts import counted
from megatinybert.tasks.stage_options import SECTIONS, TAUGHT, steps_of

# docs/task.md has what fewer teach. The smallest tasks of GLUE have more by default: RTE 225, MRPC 295.
FEWEST_STEPS = 100


def few_steps(config: TaskConfig, stages: Sequence[str], rows: int, length: float) -> list[str]:
    """What to say of stages of fewer steps: one line of all that were asked to have few, and one of each other.

    stages: that are to be trained. rows: of the training file. length: their mean, in tokens. How many rows there will
    be with copies is not known.
    """
    asked, told = list[str](), list[str]()
    for name in stages:
        section = SECTIONS[name]
        stage: StageConfig = getattr(config, section)
        steps = steps_of(stage, rows, math.ceil(rows * length))
        if steps >= FEWEST_STEPS or (stage.max_steps is None and name in TAUGHT and config.augment.copies):
            continue
        if stage.max_steps is not None:
            asked.append(f"--{section}.max_steps {stage.max_steps}")
            continue
        epochs = _rounded_up(FEWEST_STEPS * stage.global_batch / rows)
        longer = stage.model_copy(update={"epochs": epochs})
        over = f"{counted(steps * stage.global_batch / rows, 'pass', 'passes')} over {counted(rows, 'row')}"
        told.append(
            f"stage {name}: {counted(steps, 'step')} ({over}) are few: --{section}.epochs {epochs:g} makes "
            f"{steps_of(longer, rows, 1):,}{'; more rows help, too' if epochs > 1 else ''}"
        )
    few = f"enough for a trial; below {FEWEST_STEPS} steps a stage mostly learns little"
    return [f"{', '.join(asked)}: {few}", *told] if asked else told


def on_few_steps(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What to say beside the scores of models whose stages had few steps.

    stages: what is recorded of each that made them, by its name, as of `records_of`.
    """
    few = [f"{name} {recorded['steps']}" for name, recorded in stages.items() if recorded["steps"] < FEWEST_STEPS]
    learns = f"below {FEWEST_STEPS} one mostly learns little"
    says = "what a student keeps of its teacher then says little."
    return [f"Stages of few steps ({', '.join(few)}; {learns}): {says}"] if few else []


def _rounded_up(value: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.6g}")
