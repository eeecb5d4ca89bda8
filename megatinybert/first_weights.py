"""The first weights of a student: random, its teacher's layers, a model folder's, or what a finished run left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import BertConfig, BertModel

from megatinybert.layer_map import resolve_layer_map
from megatinybert.models import load_encoder, read_bert_config
from megatinybert.objectives.base import Objective
from megatinybert.schema import GeneralConfig, ObjectiveConfig

# Where a run's output folder has its student, and what its objective learnt. export.py writes both.
STUDENT_FOLDER, OBJECTIVE_FILE = "student", "objective.safetensors"
_SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "type_vocab_size",
    "max_position_embeddings",
)


def give_first_weights(student: BertModel, objective: Objective, config: GeneralConfig, teacher: BertConfig) -> None:
    """Do to a random student and objective what --student.init asks for.

    teacher: the whole teacher's configuration. Raises ValueError where the weights are missing or do not fit.
    """
    init = config.student.init
    if init == "random":
        return
    if init == "teacher":
        count = student.config.num_hidden_layers
        layers = resolve_layer_map(config.objective.layer_map, count, teacher.num_hidden_layers)
        init_from_teacher(student, config.teacher.model, layers)
    elif _is_run(Path(init)):
        init_from_run(student, objective, config.objective, Path(init))
    else:
        init_from_folder(student, init)


def init_from_teacher(student: BertModel, name: str, layers: Sequence[int]) -> None:
    """Copy the teacher's embeddings and the layers `layers` (0-based, one per student layer) into the student.

    Raises ValueError where the widths differ.
    """
    teacher = load_encoder(name, f"--teacher.model {name}")
    for key in _SHAPE:
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
    for key in _SHAPE:
        if getattr(source, key) != getattr(student.config, key):
            raise ValueError(
                f"--student.init {name}: {key} is {getattr(source, key)} there and {getattr(student.config, key)} "
                "in --student.config: name the same shape in both"
            )
    student.load_state_dict(load_encoder(name, f"--student.init {name}").state_dict())


def init_from_run(student: BertModel, objective: Objective, options: ObjectiveConfig, run: Path) -> None:
    """Take over the student of a finished run and what its objective learnt. options: those of `objective`.

    Raises ValueError where the run has not ended, or, naming what differs, where its weights do not fit.
    """
    option = f"--student.init {run}"
    for name in (STUDENT_FOLDER, OBJECTIVE_FILE):
        if not (run / name).exists():
            raise ValueError(
                f"{option}: that run has left no {name} yet. Let it end (the same command continues it), or name a "
                "model folder, which gives the student alone"
            )
    init_from_folder(student, str(run / STUDENT_FOLDER))
    with safe_open(run / OBJECTIVE_FILE, framework="pt") as file:
        learnt = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not iterable
        options_there = json.loads(file.metadata()["objective"])
    own = dict(objective.named_parameters())
    there, here = ({name: list(weight.shape) for name, weight in weights.items()} for weights in (learnt, own))
    if there != here:
        there |= {f"--objective.{key}": value for key, value in options_there.items()}
        here |= {f"--objective.{key}": value for key, value in options.model_dump(mode="json").items()}
        lines = [
            f"  {key}: {there.get(key, 'none')} there, {here.get(key, 'none')} here"
            for key in sorted(there.keys() | here.keys())
            if there.get(key) != here.get(key)
        ]
        raise ValueError(
            f"{option}: what the objective of that run learnt does not fit this one:\n"
            + "\n".join(lines)
            + "\ntake the same objective and a teacher of the same width, or the student alone: "
            + f"{option}/{STUDENT_FOLDER}"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(learnt[name])


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and not (folder / "config.json").is_file()
