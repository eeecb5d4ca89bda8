"""The first weights of a trainee by solving: student and projections, from its teacher and the run's own first rows."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BertModel

from megatinybert.models.load import Teacher
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.dist import World
from megatinybert.training.solve.calibration import Calibration
from megatinybert.training.solve.student import Solution, set_linear, solve_student
from megatinybert.training.trainee import Trainee

SOLVED = "solved"  # of --student.init


def check_solvable(trainee: Trainee) -> None:
    """Raise ValueError where the teacher does not run as deep as the student's layers are to be solved from it."""
    objective = trainee.objective
    if not isinstance(objective, TinyBert):
        raise ValueError(
            "--student.init solved: students are solved for the objective tinybert alone: take random, or name the "
            "student folder of a run of that objective, such as runs/first/student"
        )
    if objective.teacher_layers <= objective.layer_map[-1]:
        raise ValueError(
            "--student.init solved: the objective looks at the teacher's embeddings alone, and layers are solved from "
            "layers: give --objective.hidden_weight or --objective.attention_weight a value, or take random"
        )


def solve_first_weights(
    trainee: Trainee, teacher: Teacher, calibration: Calibration, seed: int, world: World
) -> Solution:
    """Give a trainee its solved weights. Every rank calls it, with its part of the calibration."""
    objective, student = trainee.objective, trainee.student
    assert isinstance(objective, TinyBert) and isinstance(student, BertModel)
    projections: Any = objective.projections
    training = student.training
    solution = solve_student(student, teacher.model.base_model, objective.layer_map, calibration, seed, world)
    student.train(training)
    with torch.no_grad():
        shared = len(projections) == 1
        for projection, point in zip(projections, objective.points, strict=False):
            solved = solution.projection if shared else solution.projections[point]
            set_linear(projection, solved)
    return solution
