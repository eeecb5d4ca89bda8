"""The rows that a task's student is trained on: as they are, or with copies."""

from __future__ import annotations

from pathlib import Path

from megatinybert.config.augment import AugmentOptions
from megatinybert.config.flat import OptionNames
from megatinybert.config.rows import RowOptions
from megatinybert.config.task import AugmentConfig
from megatinybert.runtime.dist import World
from megatinybert.tasks.augment.run import check_made_by
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.layout import TASK_NAMES

# What a task calls the options of data_prep/augment.py. It has none for some of them.
_AUGMENT_NAMES = OptionNames(
    {field: f"--augment.{field}" for field in AugmentConfig.model_fields}
    | TASK_NAMES
    | {"tokenizer": "--teacher.tokenizer", "output": "--run.output_dir", "seed": "--run.seed"}
    | {field: f"--{field} of data_prep/augment.py" for field in ("workers", "device", "resume")}
)


def augment_options(inputs: TaskInputs, model: str) -> AugmentOptions:
    """What a run asks of the augmentation. model: the masked-LM that proposes words."""
    config, wanted = inputs.config, inputs.config.augment
    return AugmentOptions(
        task=inputs.task.name,
        data_dir=config.task.data_dir,
        model=model,
        output=inputs.augmented,
        tokenizer=config.teacher.tokenizer if model == config.teacher.model else None,
        labels=config.task.labels,
        kind=config.task.kind,
        copies=None if wanted.copies == "published" else wanted.copies,
        probability=wanted.probability,
        candidates=wanted.candidates,
        vectors=Path(wanted.vectors) if wanted.vectors else None,
        segmenter=wanted.segmenter,
        rows=wanted.rows,
        seed=config.run.seed,
        skip_bad_rows=config.task.skip_bad_rows,
        resume=True,
        names=_AUGMENT_NAMES,
        **{field: getattr(config.task, field) for field in RowOptions.model_fields},
    )


def training_file(inputs: TaskInputs, world: World) -> Path:
    """What the student trains on. Raises ValueError where it is not there, or made otherwise. Every rank calls it."""
    if inputs.config.augment.copies == 0:
        return inputs.files.train

    options = augment_options(inputs, inputs.config.augment.model or inputs.config.teacher.model)

    def check() -> None:
        if not inputs.augmented.is_file():
            raise ValueError(
                f"{inputs.augmented} is not there yet: run augment first, or train without it with --augment.copies 0"
            )
        check_made_by(options)

    world.first(check)
    return inputs.augmented
