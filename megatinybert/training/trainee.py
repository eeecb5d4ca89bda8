"""The module of a DeepSpeed engine: student and objective."""

from __future__ import annotations

import functools
import operator
import pkgutil
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedModel

from megatinybert.config.general import GeneralConfig
from megatinybert.models.capture import Features, Wanted, run_captured
from megatinybert.models.compiled import Run, Terms, compiled_run, compiled_terms
from megatinybert.models.configuration import student_config
from megatinybert.models.load import build_student
from megatinybert.models.masked_lm import build_mlm_model
from megatinybert.objectives import OBJECTIVES
from megatinybert.objectives.base import Objective
from megatinybert.objectives.mlm import Mlm
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.training.first_weights import Lesson, give_first_weights, trains_projections


class Trainee(nn.Module):
    """A student with its objective; its forward is the loss, so that the engine wraps the whole computation.

    frozen: the student's weights that are not trained, as they are given: an engine has them in the precision that it
    trains in.
    """

    def __init__(self, student: PreTrainedModel, objective: Objective) -> None:
        super().__init__()
        self.student, self.objective = student, objective
        self.frozen = {name: w.detach().clone() for name, w in student.named_parameters() if not w.requires_grad}
        self._compiled: tuple[Run, Terms] | None = None

    def compile_passes(self, shape: torch.Size) -> None:
        """Train on batches of this shape of input_ids compiled from now on. It cannot be copied any more then."""
        self._compiled = compiled_run(self.student, shape, frozen=False), compiled_terms(self.objective)

    def sees(self, features: Features | None) -> Features | None:
        """What this objective is given of a teacher that may run deeper for others: no more than it asks for."""
        return features.of_first(self.objective.teacher_layers) if features else None

    @property
    def wanted(self) -> Wanted:
        """What is read of its teacher's features: by the objective, and by the probe the last states it sees."""
        return self.objective.wanted | Wanted(states=frozenset([self.objective.teacher_layers]))

    def forward(
        self, batch: dict[str, Tensor], teacher: Features | None, watch: Stopwatch | None = None
    ) -> tuple[Tensor, Tensor, Features | None]:
        """-> (total loss, a scalar; [total, *unweighted terms], detached float32 (1 + T,); in eval mode the student's
        features), with T = len(objective.terms). watch: tells the objective's time from the student's."""
        as_written = functools.partial(run_captured, self.student), self.objective
        run, losses = self._compiled if self.training and self._compiled else as_written
        student = run(batch)
        if watch:
            watch.lap("student")
        terms = losses(student, teacher, batch)
        total = sum(term.weight * loss for term, loss in zip(self.objective.terms, terms, strict=True))
        if watch:
            watch.lap("objective")
            watch.lap_at_gradient("objective", [*student.hidden_states, *student.queries, *student.keys])
        return total, torch.stack([total, *terms]).detach(), None if self.training else student


def wanted_by(trainees: Iterable[Trainee]) -> Wanted:
    """What is read of the features of a teacher that they all share."""
    return functools.reduce(operator.or_, (trainee.wanted for trainee in trainees))


def build_trainee(config: GeneralConfig, teacher: BertConfig) -> Trainee:
    """The trainee that a configuration asks for, with its first weights: the same on every rank and in every run.

    teacher: the whole teacher's configuration. Raises ValueError where the models or the first weights do not fit.
    """
    assert config.teacher.model is not None, "of objectives that have a teacher"
    wanted = config.student
    shape = student_config(wanted.config, teacher, wanted.hidden_dropout, wanted.attention_dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        objective_class: type[Objective] = pkgutil.resolve_name(OBJECTIVES[config.objective.name])
        objective = objective_class(config.objective, shape, teacher)
        student = build_student(shape)
    if isinstance(objective, TinyBert):
        objective.trains_projections = trains_projections(config.objective.train_projection, wanted.init)
    lesson = Lesson(config.objective, config.teacher.model, teacher, config.data.sequence_length)
    give_first_weights(student, objective, wanted.init, lesson)
    return Trainee(student, objective)


def build_mlm_trainee(config: GeneralConfig, shape: BertConfig) -> Trainee:
    """The same for masked-language modelling, which has no teacher. shape: the student's."""
    return Trainee(build_mlm_model(shape, config.student.init, config.mlm.train, config.run.seed), Mlm())
