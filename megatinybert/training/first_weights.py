"""A student's first weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import BertConfig, BertModel

from megatinybert.config.run_folder import STUDENT_FOLDER, is_run
from megatinybert.config.schema import MADE_WEIGHTS
from megatinybert.config.transfer import TransferConfig
from megatinybert.models.initialize import init_from_folder, init_from_teacher, model_folder
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import load_encoder
from megatinybert.models.positions import extend_positions
from megatinybert.models.published import PROJECTION, read_weights
from megatinybert.objectives.base import Objective
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.differences import refuse_differences

OBJECTIVE_FILE = "objective.safetensors"  # of what a run's objective learnt, in its output folder; export.py writes it


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
    if init in ("random", "solved"):  # solved: when the rows are open, by training/solve/
        return
    if init == "teacher":
        count = student.config.num_hidden_layers
        layers = resolve_layer_map(lesson.options.layer_map, count, lesson.teacher_config.num_hidden_layers)
        init_from_teacher(student, lesson.teacher, layers)
    elif is_run(Path(init)):
        init_from_run(student, objective, Path(init), lesson)
    else:
        init_from_folder(student, init)
        if isinstance(objective, TinyBert):
            init_projections(objective, init)


def trained_positions(init: str, reached: int, positions: int) -> int:
    """How many positions, from 0 on, the student of a run has values for that are not random.

    init: the option --student.init. reached: positions that the windows of the run hold. positions: all that the
    student has.
    """
    if init == "random":
        return reached
    if init in ("teacher", "solved") or not is_run(Path(init)):
        return positions
    return max(reached, _read_objective(Path(init))[2])


def trains_projections(wanted: bool | None, init: str) -> bool:
    """Whether the maps to the teacher's width are trained. wanted: as --objective.train_projection asks for.

    init: the option --student.init. By default solved maps are not trained, nor are those of a run that did not.
    """
    if wanted is not None:
        return wanted
    if init != "solved" and is_run(Path(init)) and (Path(init) / OBJECTIVE_FILE).exists():
        return _read_objective(Path(init))[1].get("train_projection") is not False
    return init != "solved"


def init_from_run(student: BertModel, objective: Objective, run: Path, lesson: Lesson) -> None:
    """Take over the student of a finished run and what its objective learnt.

    Where this one has longer windows, the student's new positions are read off the teacher's. Raises ValueError where
    the run has not ended, or, naming what differs, where its weights do not fit.
    """
    option = f"--student.init {run}"
    folder = model_folder(str(run))
    if not (run / OBJECTIVE_FILE).exists():  # as a task's
        raise ValueError(
            f"{option}: that run has left no {OBJECTIVE_FILE}, which general distillation leaves beside its student: "
            f"name {folder}, which gives the student alone"
        )
    init_from_folder(student, folder)
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


def init_projections(objective: TinyBert, name: str) -> None:
    """Give the objective the maps to the teacher's width that a published checkpoint of the student's shape holds.

    One map for all points also starts maps for each. Where there are no maps, or they lead to the width of another
    teacher (which `projections_left_aside` tells), the objective keeps its own. Raises ValueError where the files hold
    a map for each point and the objective has one for all.
    """
    role = f"--student.init {name}"
    maps, projections = read_weights(name, role, PROJECTION), list(objective.projections)
    if not maps or not projections:
        return
    shared = f"{PROJECTION}.weight" in maps
    sources = [PROJECTION if shared else f"{PROJECTION}s.{point}" for point in objective.points]
    missing = sorted({f"{source}.{key}" for source in sources for key in ("weight", "bias")} - maps.keys())
    if missing:
        raise ValueError(f"{role}: it holds projections, but no {', '.join(missing)}")
    if len(maps[f"{sources[0]}.weight"]) != projections[0].out_features:
        return
    if not shared and len(projections) < len(sources):
        raise ValueError(
            f"{role}: it holds a projection for each layer (fit_denses), --objective.projection shared is one for all: "
            "set --objective.projection per-layer"
        )
    for projection, source in zip(projections, sources, strict=False):  # one for all is read once
        projection.load_state_dict({key: maps[f"{source}.{key}"] for key in ("weight", "bias")})


def projections_left_aside(objective: Objective, init: str) -> str | None:
    """What to say where the maps of the checkpoint --student.init `init` lead to another width than the teacher's."""
    if init in MADE_WEIGHTS or is_run(Path(init)) or not isinstance(objective, TinyBert):
        return None
    role, projections = f"--student.init {init}", list(objective.projections)
    widths = {len(weight) for key, weight in read_weights(init, role, PROJECTION).items() if key.endswith(".weight")}
    if not widths or not projections or projections[0].out_features in widths:
        return None
    return (
        f"{role}: its projections lead to a teacher of width {', '.join(map(str, sorted(widths)))}, this one is "
        f"{projections[0].out_features} wide: they are left aside, and new ones start at random"
    )
