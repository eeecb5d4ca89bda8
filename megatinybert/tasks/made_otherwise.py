"""Whether stages that are done or begun were trained otherwise: by other options, which is seen before anything is
opened, or on other rows or for other steps, which is seen before torch is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from megatinybert.config.schema import RunConfig
from megatinybert.config.task import TaskConfig
from megatinybert.tasks.augmented import check_copies
from megatinybert.tasks.model_folder import ModelFolder
from megatinybert.tasks.rows_now import RowsNow
from megatinybert.tasks.stage_options import (
    PRODUCTS,
    SECTIONS,
    facts_of_options,
    has_stage_one,
    stage_folder,
    training_of,
)
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.checkpoints.which import find_checkpoint
from megatinybert.training.same_run import check_options


def check_options_of_stages(config: TaskConfig, actions: Container[str]) -> None:
    """Raise ValueError for the first stage of these actions whose result or checkpoint was made by other options.

    Each stage compares all that decides its result once that is opened.
    """
    from megatinybert.models.published import has_classifier

    _check_stages(config, actions, lambda: has_classifier(config.teacher.model))
    check_augmentation(config, actions)


def check_stages_early(now: RowsNow, actions: Container[str]) -> None:
    """The same by the configuration of `now`, and of other rows and steps, as far as it is seen without torch: where
    the tokenizer is in a folder and the files have 8 MiB together at most. Where no file says at once whether the
    teacher is fine-tuned, its stage is left to the run.
    """
    config = now.config
    _check_stages(config, actions, lambda: _has_classifier(config.teacher.model) is not False, now)


def check_augmentation(config: TaskConfig, actions: Container[str], now: RowsNow | None = None) -> None:
    """The same of the copies of the training rows, and of the masked-LM that proposes their words. No torch is imported
    for it. now: to compare with the rows of the masked-LM, too.
    """
    if "augment" in actions and config.augment.copies and config.augment.model is None:
        _check_stages(config, ("mlm",), lambda: False, now)
    check_copies(config, actions)


def _check_stages(
    config: TaskConfig,
    stages: Container[str],
    has_classifier: Callable[[], bool],
    now: RowsNow | None = None,
) -> None:
    """stages: to look at. has_classifier: whether the stage that trains the teacher is left out. now: to compare with
    the rows, too.
    """
    output = Path(config.run.output_dir)
    for name in (each for each in PRODUCTS if each in stages):
        folder = stage_folder(output, name)
        model = ModelFolder(output / PRODUCTS[name], folder, config.teacher.tokenizer or config.teacher.model)
        run = training_of(config, SECTIONS[name], folder, max_steps=1).run
        recorded = model.recorded if model.is_there else _of_checkpoint(run)
        if not recorded or (has_classifier() if name == "teacher" else name == "one" and not has_stage_one(config)):
            continue
        facts = {**facts_of_options(config, name), **(now.others(name, recorded) if now else {})}
        if model.is_there:
            model.check_options(facts)
        else:
            check_options(run, facts, SECTIONS[name])


def _of_checkpoint(run: RunConfig) -> Mapping[str, Any]:
    """What the checkpoint that a stage would continue from has recorded; {} where there is none."""
    found, _ = find_checkpoint(run, checksums=False)
    return read_state(found)[1] if found else {}


def _has_classifier(teacher: str) -> bool | None:
    """Whether a model is fine-tuned; None where a look at a file of its folder does not say so."""
    weights = Path(teacher) / "model.safetensors"
    if weights.is_file():
        with suppress(OSError, SafetensorError), safe_open(weights, "numpy") as file:
            return "classifier.weight" in file.keys()  # noqa: SIM118
    return None
