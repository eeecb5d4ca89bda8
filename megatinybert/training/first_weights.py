"""The first weights of a student: random, its teacher's layers, a model folder's, or what a finished run left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import BertConfig, BertModel

from megatinybert.config.schema import TransferConfig
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import load_encoder, read_bert_config
from megatinybert.models.positions import extend_positions
from megatinybert.models.published import init_projections
from megatinybert.objectives.base import Objective
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.findings import refuse_differences

# Where a run's output folder has its student, and what its objective learnt. export.py writes both.
STUDENT_FOLDER, OBJECTIVE_FILE = "student", "objective.safetensors"
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "type_vocab_size",
    "max_position_embeddings",
)


@dataclass(frozen=True)
class Lesson:
    """What a student is to learn, as far as its first weights depend on it.

    options: of the objective. teacher: folder or hub name; teacher_config: of the whole one. length: tokens of the
    longest row.
    """

    options: TransferConfig
    teacher: str
    teacher_config: BertConfig
    length: int


def give_first_weights(student: BertModel, objective: Objective, init: str, lesson: Lesson) -> None:
    """Do to a random student and objective what `init`, the option --student.init, asks for.

    Raises ValueError where the weights are missing or do not fit.
    """
    if init == "random":
        return
    if init == "teacher":
        count = student.config.num_hidden_layers
        layers = resolve_layer_map(lesson.options.layer_map, count, lesson.teacher_config.num_hidden_layers)
        init_from_teacher(student, lesson.teacher, layers)
    elif _is_run(Path(init)):
        init_from_run(student, objective, Path(init), lesson)
    else:
        init_from_folder(student, init)
        if isinstance(objective, TinyBert):
            init_projections(objective, init)


def init_from_teacher(student: BertModel, name: str, layers: Sequence[int]) -> None:
    """Copy the teacher's embeddings and the layers `layers` (0-based, one per student layer) into the student.

    Raises ValueError where the widths differ.
    """
    teacher = load_encoder(name, f"--teacher.model {name}")
    for key in SHAPE:
        ours, theirs = getattr(student.config, key), getattr(teacher.config, key)
        if key != "num_hidden_layers" and ours != theirs:
            raise ValueError(
                f"--student.init teacher copies whole layers, but {key} is {ours} in the student and {theirs} in the "
                "teacher: choose a student of the teacher's width, or --student.init random"
            )
    student.embeddings.load_state_dict(teacher.embeddings.state_dict())
    for ours, theirs in zip(student.encoder.layer, layers, strict=True):
        ours.load_state_dict(teacher.encoder.layer[theirs].state_dict())


def init_from_folder(student: BertModel, name: str) -> None:
    """Load the student's weights from a model folder of the same shape. Raises ValueError where a weight is missing."""
    source = read_bert_config(name, "--student.init")
    for key in SHAPE:
        if getattr(source, key) != getattr(student.config, key):
            raise ValueError(
                f"--student.init {name}: {key} is {getattr(source, key)} there and {getattr(student.config, key)} "
                "in --student.config: name the same shape in both"
            )
    student.load_state_dict(load_encoder(name, f"--student.init {name}").state_dict())


def trained_positions(init: str, reached: int, positions: int) -> int:
    """How many positions, from 0 on, the student of a run has values for that are not random.

    init: the option --student.init. reached: positions that the windows of the run hold. positions: all that the
    student has.
    """
    if init == "random":
        return reached
    if init == "teacher" or not _is_run(Path(init)):
        return positions
    return max(reached, _read_objective(Path(init))[2])


def init_from_run(student: BertModel, objective: Objective, run: Path, lesson: Lesson) -> None:
    """Take over the student of a finished run and what its objective learnt.

    Where this one has longer windows, the student's new positions are read off the teacher's. Raises ValueError where
    the run has not ended, or, naming what differs, where its weights do not fit.
    """
    option = f"--student.init {run}"
    for name in (STUDENT_FOLDER, OBJECTIVE_FILE):
        if not (run / name).exists():
            raise ValueError(
                f"{option}: that run has left no {name} yet. Let it end (the same command continues it), or name a "
                "model folder, which gives the student alone"
            )
    init_from_folder(student, str(run / STUDENT_FOLDER))
    learnt, options_there, trained = _read_objective(run)
    own = dict(objective.named_parameters())
    there, here = ({name: list(weight.shape) for name, weight in weights.items()} for weights in (learnt, own))
    if there != here:
        there |= {f"--objective.{key}": value for key, value in options_there.items()}
        here |= {f"--objective.{key}": value for key, value in lesson.options.model_dump(mode="json").items()}
        refuse_differences(
            f"{option}: what the objective of that run learnt does not fit this one",
            there,
            here,
            f"take the same objective and a teacher of the same width, or the student alone: {option}/{STUDENT_FOLDER}",
            word="here",
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(learnt[name])
        if trained < lesson.length:
            own_PD = student.embeddings.position_embeddings.weight
            teacher = load_encoder(lesson.teacher, f"--teacher.model {lesson.teacher}")
            own_PD.copy_(extend_positions(own_PD, teacher.embeddings.position_embeddings.weight, trained))


def _read_objective(run: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """(the weights that a run's objective learnt, its options, the positions that its student was trained at)."""
    with safe_open(run / OBJECTIVE_FILE, framework="pt") as file:
        learnt = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not iterable
        metadata = file.metadata()
    return learnt, json.loads(metadata["objective"]), int(metadata["trained_positions"])


def model_folder(name: str) -> str:
    """The student of a finished run; other names as they are. Raises ValueError where a run has left none yet."""
    if not _is_run(Path(name)):
        return name
    student = Path(name) / STUDENT_FOLDER
    if not student.is_dir():
        raise ValueError(
            f"--student.init {name}: that run has left no {STUDENT_FOLDER} yet; let it end (the same command continues)"
        )
    return str(student)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and not (folder / "config.json").is_file()
