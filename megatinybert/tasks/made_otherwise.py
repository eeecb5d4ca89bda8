"""Whether stages that are done or begun were trained by other options, seen before anything is opened."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from megatinybert.config.task import TaskConfig
from megatinybert.models.published import has_classifier
from megatinybert.tasks.model_folder import ModelFolder
from megatinybert.tasks.stage_options import SECTIONS, facts_of_options, has_stage_one, stage_folder, training_of
from megatinybert.training.resume import check_options

# The model folder that each stage leaves.
_PRODUCTS = {"teacher": "teacher", "one": "student-one", "two": "student"}


def check_options_of_stages(config: TaskConfig, actions: Container[str]) -> None:
    """Raise ValueError for the first stage of these actions whose model or checkpoint was made by other options.

    Each stage compares all that decides its result once that is opened.
    """
    output = Path(config.run.output_dir)
    for name, product in _PRODUCTS.items():
        folder = stage_folder(output, name)
        model = ModelFolder(output / product, folder, config.teacher.tokenizer or config.teacher.model)
        if name not in actions or not (model.is_there or folder.is_dir()) or _is_left_out(name, config):
            continue
        facts = facts_of_options(config, name)
        if model.is_there:
            model.check_options(facts)
        else:
            check_options(training_of(config, SECTIONS[name], folder, max_steps=1).run, facts, SECTIONS[name])


def _is_left_out(name: str, config: TaskConfig) -> bool:
    if name == "teacher":
        return has_classifier(config.teacher.model)
    return name == "one" and not has_stage_one(config)
