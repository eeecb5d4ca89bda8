"""The copies that a task's student is trained on: what they are asked to be, and whether those that are there, or
begun, are others, which is seen before torch is imported.
"""

from __future__ import annotations

from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from megatinybert.config.augment import AugmentOptions
from megatinybert.config.flat import OptionNames
from megatinybert.config.rows import RowOptions
from megatinybert.config.task import AugmentConfig, TaskConfig
from megatinybert.tasks.augment.output import (
    AugmentPlan,
    begun_plan_of,
    options_in_plan,
    plan_of,
    refuse_other_beginning,
    refuse_other_plan,
    rows_key,
)
from megatinybert.tasks.model_folder import made_of
from megatinybert.tasks.reading.files import TaskFiles, find_files
from megatinybert.tasks.reading.layout import TASK_NAMES, layout_of
from megatinybert.tasks.reading.wrong_files import READ_WHOLE, size_of
from megatinybert.tasks.table import find_task

# What a task calls the options of data_prep/augment.py. It has none for some of them.
_NAMES = OptionNames(
    {field: f"--augment.{field}" for field in AugmentConfig.model_fields}
    | TASK_NAMES
    | {"tokenizer": "--teacher.tokenizer", "output": "--run.output_dir", "seed": "--run.seed"}
    | {field: f"--{field} of data_prep/augment.py" for field in ("workers", "device", "resume")}
)


def augmented_file(config: TaskConfig) -> Path:
    """Of the training rows with their rewritten copies."""
    return Path(config.run.output_dir) / "augmented" / "train.jsonl"


def augment_options(config: TaskConfig, model: str) -> AugmentOptions:
    """What a run asks of the augmentation. model: the masked-LM that proposes words."""
    wanted = config.augment
    return AugmentOptions(
        task=find_task(config.task.name).name,
        data_dir=config.task.data_dir,
        model=model,
        output=augmented_file(config),
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
        names=_NAMES,
        **{field: getattr(config.task, field) for field in RowOptions.model_fields},
    )


def check_copies(config: TaskConfig, actions: Container[str]) -> None:
    """Raise ValueError where these actions would find copies that were made, or begun, by other options, or of another
    training file of up to 8 MiB. Vectors and models are left to the run.
    """
    if config.augment.copies == 0 or not any(name in actions for name in ("augment", "one", "two")):
        return
    options = augment_options(config, config.augment.model or config.teacher.model)
    made = plan_of(options.output) if options.output.is_file() else None
    then = made or begun_plan_of(options.output)
    if then is None:
        return
    with suppress(OSError):
        now = _plan_now(options, find_files(options.task, options.data_dir, layout_of(options)), then)
        if made:
            refuse_other_plan(options.output, made, now, options.names, made_of("augment", options.output.parents[1]))
        else:
            refuse_other_beginning(options.output, then, now, options.names)


def _plan_now(options: AugmentOptions, files: TaskFiles, then: AugmentPlan) -> AugmentPlan:
    """As far as it is seen here; the rest as it was."""
    task = files.task
    there = then.options.get("labels")
    known = options.labels or task.labels
    labels = known if known or there is None else str(there).split(" ")
    rows = rows_key(files.train) if size_of([files.train]) <= READ_WHOLE else then.inputs["data_dir"]
    vectors = then.inputs["vectors"] if options.vectors and then.inputs["vectors"] != "none" else "none"
    vectors = vectors if (vectors == "none") == (options.vectors is None) else str(options.vectors)
    plan = options_in_plan(options, task.name, labels)
    return AugmentPlan(options=plan, inputs={**then.inputs, "data_dir": rows, "vectors": vectors})
