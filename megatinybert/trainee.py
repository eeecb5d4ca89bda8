"""The module a DeepSpeed engine owns: a student and what its objective learns beside it."""

from __future__ import annotations

import pkgutil

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from megatinybert.capture import Features, mean_pool, padding_mask, run_captured
from megatinybert.layer_map import resolve_layer_map
from megatinybert.models import build_student, init_from_folder, init_from_teacher, student_config
from megatinybert.objectives import OBJECTIVES
from megatinybert.objectives.base import Objective
from megatinybert.schema import GeneralConfig


class Trainee(nn.Module):
    """A student with its objective; its forward is the loss, so that the engine wraps the whole computation."""

    def __init__(self, student: BertModel, objective: Objective) -> None:
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, batch: dict[str, Tensor], teacher: Features) -> tuple[Tensor, Tensor, Tensor | None]:
        """-> (total loss, a scalar; [total, *unweighted terms], detached float32 (1 + T,); in eval mode the
        mean-pooled last hidden states, float32 (B, D)), with T = len(objective.terms)."""
        student = run_captured(self.student, batch)
        mask_BS = padding_mask(batch)
        terms = self.objective(student, teacher, mask_BS)
        total = sum(term.weight * loss for term, loss in zip(self.objective.terms, terms, strict=True))
        pooled = None if self.training else mean_pool(student.hidden_states[-1], mask_BS)
        return total, torch.stack([total, *terms]).detach(), pooled


def build_trainee(config: GeneralConfig, teacher: BertConfig) -> Trainee:
    """The trainee that a configuration asks for, with its first weights: the same on every rank and in every run.

    teacher: the whole teacher's configuration. Raises ValueError where the two models do not fit.
    """
    wanted = config.student
    shape = student_config(wanted.config, teacher, wanted.hidden_dropout, wanted.attention_dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        objective_class: type[Objective] = pkgutil.resolve_name(OBJECTIVES[config.objective.name])
        objective = objective_class(config.objective, shape, teacher)
        student = build_student(shape)
    if wanted.init == "teacher":
        layers = resolve_layer_map(config.objective.layer_map, shape.num_hidden_layers, teacher.num_hidden_layers)
        init_from_teacher(student, config.teacher.model, layers)
    elif wanted.init != "random":
        init_from_folder(student, wanted.init)
    return Trainee(student, objective)
