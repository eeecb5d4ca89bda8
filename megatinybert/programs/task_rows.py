"""The rows that a task's student is trained on: as they are, or with copies."""

from __future__ import annotations

from pathlib import Path

from megatinybert.runtime.dist import World
from megatinybert.tasks.augment.run import check_made_by
from megatinybert.tasks.augmented import augment_options
from megatinybert.tasks.inputs import TaskInputs


def training_file(inputs: TaskInputs, world: World) -> Path:
    """What the student trains on. Raises ValueError where it is not there, or made otherwise. Every rank calls it."""
    if inputs.config.augment.copies == 0:
        return inputs.files.train

    options = augment_options(inputs.config, inputs.config.augment.model or inputs.config.teacher.model)

    def check() -> None:
        if not inputs.augmented.is_file():
            raise ValueError(
                f"{inputs.augmented} is not there yet: run augment first, or train without it with --augment.copies 0"
            )
        check_made_by(options)

    world.first(check)
    return inputs.augmented
