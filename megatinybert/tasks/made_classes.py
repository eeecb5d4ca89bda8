"""Whether the models in a task's output folder are of the classes that its rows have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from megatinybert.config.recipe import recorded_section
from megatinybert.config.rows import RowOptions
from megatinybert.config.task import READING, TaskConfig
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.published import has_classifier
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.labels import label_order
from megatinybert.tasks.model_folder import ModelFolder
from megatinybert.tasks.stage_options import stage_folder

_MADE_BY = {"teacher": "teacher", "student": "two"}  # the stage that leaves each model folder
_READING = ("name", "kind", "labels", *RowOptions.model_fields)  # options that say what the classes are


def check_classes(inputs: TaskInputs, action: str) -> None:
    """Look at the models that an action makes or reads, as far as stages have left them.

    Raises ValueError where the outputs of one are not the classes of the task, with the options by which its rows were
    read otherwise, as config.yaml has them. Rows can be the same numbers, and their classes called otherwise.
    """
    for name in _own_models(action, inputs.config):
        path = inputs.output / name
        folder = ModelFolder(path, stage_folder(inputs.output, _MADE_BY[name]), inputs.tokenizer_name)
        if not folder.is_there:
            continue
        outputs = list((read_bert_config(str(path), name).id2label or {}).values())
        classes = inputs.task.labels
        if _mean(outputs, classes):
            continue
        before = {"classes": " ".join(outputs), **_reading(recorded_section(inputs.output, "task"))}
        scores = "none, but scores"
        now = {"classes": " ".join(classes or [scores]), **_reading(inputs.config.task.model_dump(mode="json"))}
        folder.refuse_others(before, now)


def _own_models(action: str, config: TaskConfig) -> list[str]:
    """Those of the output folder that an action makes or reads, without those whose outputs the user names."""
    teacher = action not in ("augment", "predict") and not has_classifier(config.teacher.model)
    student = action in ("all", "two") or (action in READING and not config.predict.model)
    own = {"teacher": teacher and not config.teacher.labels, "student": student and not config.predict.labels}
    return [name for name, is_own in own.items() if is_own]


def _mean(outputs: Sequence[str], classes: Sequence[str] | None) -> bool:
    """Whether outputs of these names are those of the task. classes: None of a regression."""
    if classes is None:
        return len(outputs) == 1
    try:
        label_order(classes, dict(enumerate(outputs)), "")
    except ValueError:
        return False
    return True


def _reading(task: Mapping[str, Any]) -> dict[str, str]:
    """By option, those that are given."""
    given = {f"--task.{key}": task[key] for key in _READING if task.get(key) is not None}
    return {option: " ".join(value) if isinstance(value, list) else str(value) for option, value in given.items()}
