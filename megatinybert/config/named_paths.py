"""The files and folders that options name, looked at as the command line is read.

Each function takes the options that were given, by name, and returns a line for each path that is not there. Values
that are wrong in another way are left to the schema, and what a value that is not known (None) decides is not told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatinybert.config.deepspeed import find_ds_config
from megatinybert.config.general import GeneralConfig
from megatinybert.config.missing import (
    RESUME,
    is_path,
    missing_checkpoint,
    missing_data_dir,
    missing_model,
    missing_shards,
    missing_student,
    missing_text,
    missing_tokenizer,
    never_again,
    unreadable_file,
    unusable_output,
)
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import MADE_WEIGHTS, ConfigError, shipped_students
from megatinybert.config.task import READING, TaskConfig, TaskRunConfig

_MAKE_ROWS = ("augment", "one", "two", "all")  # the actions that need the word vectors


def missing_of_general(given: Mapping[str, Any]) -> list[str]:
    """Of general distillation."""
    shards, texts = names_in(given, "data.shards"), names_in(given, "data.text")
    if shards and texts:  # which the schema refuses
        shards, texts = [], []
    problems = [
        *_missing_of_any(given),
        *(f"--data.shards {told}" for name in shards if (told := missing_shards(Path(name)))),
        *(missing_text("--data.text", name) for name in texts),
    ]
    resumed = [name for name in names_in(given, "run.resume") if name not in RESUME]
    problems += [missing_checkpoint(name) for name in resumed]
    if given.get("run.resume") == "never":
        held = [name for name in names_in(given, "run.output_dir") if any(Path(name, "checkpoints").glob("step-*"))]
        problems += map(never_again, held)
    return _told(problems)


def missing_of_task(action: str, given: Mapping[str, Any]) -> list[str]:
    """Of an action of a task."""
    problems = [
        *_missing_of_any(given),
        *(missing_data_dir("--task.data_dir", Path(name)) for name in names_in(given, "task.data_dir")),
    ]
    if action in _MAKE_ROWS and str(given.get("augment.copies") or 0) != "0":
        problems += [missing_model("--augment.model", name) for name in names_in(given, "augment.model")]
        problems += [unreadable_file("--augment.vectors", Path(name)) for name in names_in(given, "augment.vectors")]
    if action in READING:
        problems += [missing_model("--predict.model", name) for name in names_in(given, "predict.model")]
    if action in READING and "predict.model" not in given:
        default = [] if "run.output_dir" in given else [TaskRunConfig().output_dir]
        problems += map(missing_student, names_in(given, "run.output_dir") or default)
    if action == "predict":
        problems += [unreadable_file("--predict.input", Path(name)) for name in names_in(given, "predict.input")]
    return _told(problems)


def missing_of_augment(given: Mapping[str, Any]) -> list[str]:
    """Of data_prep/augment.py."""
    return _told(
        [
            *(missing_data_dir("--data-dir", Path(name)) for name in names_in(given, "data_dir")),
            *(missing_model("--model", name) for name in names_in(given, "model")),
            *(missing_tokenizer(name) for name in names_in(given, "tokenizer")),
            *(unreadable_file("--vectors", Path(name)) for name in names_in(given, "vectors")),
        ]
    )


def hub_names(config: GeneralConfig | TaskConfig) -> dict[str, str | None]:
    """What may be names on the hub, by option: of teacher, tokenizer and student, and of the other models of a task."""
    student = {"--student.config": config.student.config, "--student.init": config.student.init}
    names = {"--teacher.model": config.teacher.model, "--teacher.tokenizer": config.teacher.tokenizer}
    names |= {option: name for option, name in student.items() if name not in (*MADE_WEIGHTS, *shipped_students())}
    if isinstance(config, TaskConfig):
        names |= {"--augment.model": config.augment.model, "--predict.model": config.predict.model}
    return names


def _missing_of_any(given: Mapping[str, Any]) -> list[str]:
    """What general distillation and tasks have in common."""
    problems = [missing_model("--teacher.model", name) for name in names_in(given, "teacher.model")]
    problems += [missing_tokenizer(name) for name in names_in(given, "teacher.tokenizer")]
    shapes = [name for name in names_in(given, "student.config") if name not in shipped_students()]
    # A name without a slash that is neither is refused by the schema.
    problems += [missing_model("--student.config", name) for name in shapes if "/" in name]
    weights = [name for name in names_in(given, "student.init") if name not in MADE_WEIGHTS]
    problems += [missing_model("--student.init", name) or _misspelt_weights(name) for name in weights]
    problems += [unusable_output(Path(name)) for name in names_in(given, "run.output_dir")]
    for option in ("deepspeed", "teacher.deepspeed"):
        try:
            for name in names_in(given, option):
                if name != "auto":
                    find_ds_config(name, f"--{option}")
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _misspelt_weights(name: str) -> str:
    """The refusal of what is nearly a kind of first weights; "" of a path, and of what may be a name on the hub."""
    meant = None if is_path(name) or "/" in name else nearest(name, MADE_WEIGHTS)
    return f"--student.init {name}: no such folder here; did you mean {meant}?" if meant else ""


def names_in(given: Mapping[str, Any], option: str) -> list[str]:
    """The value of an option as a list; [] where it is not given, or is no text."""
    value = given.get(option)
    return [name for name in (value if isinstance(value, list) else [value]) if name and isinstance(name, str)]


def _told(problems: list[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, problems)))
