"""The description of one training run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.family import OWN
from megatinybert.config.schema import ProgramConfig
from megatinybert.config.training import TrainingConfig
from megatinybert.models.load import Teacher, count_of
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings, of_each
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import TrainingData
from megatinybert.tracking.attention_maps import AttentionPictures
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.disk import checkpoint_bytes
from megatinybert.training.trainee import Trainee

Facts = Mapping[str, Any]  # what decides the result of a run, by name; JSON values


class Product(Protocol):
    """What a run leaves behind. path: where."""

    @property
    def path(self) -> Path: ...
    def is_made(self, facts: Facts) -> bool:
        """Whether it is there already, made of the same. Raises ValueError where it was made of something else."""

    def make(self, trainees: Trainees, best: Best | None, facts: Facts, world: World) -> None:
        """Write it, in place of what stood there. Every rank calls it."""


STUDENT = "student"  # the name of the one trainee of most runs
_OF_ENTRY = re.compile(rf"--(?=({'|'.join(OWN)})\.)")


@dataclass(frozen=True)
class Stage:
    """A run of one student, opened and described; `training.ready` checks it, `training.run` trains.

    name: of the progress bar, and before what is said of it. config: what the engine and the loop are told; its
    run.output_dir holds checkpoints and metrics. tokenizer: folder or hub name, exported with the student. data: what
    is trained on; length: tokens of its longest row. max_steps: optimizer steps in all. decides: the facts that decide
    its result, beside those that every run has (`resume.training_facts`). measure: {tag: value} of the students as they
    are, the same on all ranks, which all call it; measured: its tags beside the losses. best: the tag whose best
    weights are kept; None: the last count. pictures: attention maps to draw. about: lines for the person who starts it.
    windows: how many held-out ones `measure` looks at, where it does. recipe: what config.yaml in the output folder is
    to hold; None: none is written. learner: what the model that is trained is called before that person. solve: gives
    the trainee its first weights, at the beginning of a new run; every rank calls it. try_solving: the same on so many
    tokens, for a trial. prepare: computes what the steps read, once before the first step of a new or resumed run;
    every rank calls it. begins: called on rank 0 by a run that nothing refuses, before its first step.
    """

    name: str
    config: TrainingConfig
    settings: DeepSpeedSettings
    trainee: Trainee
    teacher: Teacher | None
    tokenizer: str
    data: TrainingData
    length: int
    max_steps: int
    decides: Facts
    measure: Callable[[Trainees, World], dict[str, float]]
    measured: Sequence[str]
    product: Product
    best: str | None = None
    pictures: AttentionPictures | None = None
    about: Sequence[str] = ()
    windows: int | None = None
    recipe: ProgramConfig | None = None
    learner: str = "student"
    solve: Callable[[World], None] | None = None
    try_solving: Callable[[int, World], object] | None = None
    prepare: Callable[[World], None] | None = None
    begins: Callable[[], None] | None = None

    @property
    def output(self) -> Path:
        return Path(self.config.run.output_dir)

    @property
    def checkpoints(self) -> Path:
        return self.output / "checkpoints"

    @property
    def parameters(self) -> int:
        """How many weights student and objective have."""
        return count_of(self.trainee.parameters())

    @property
    def checkpoint_bytes(self) -> int:
        """Of a checkpoint on the disk."""
        return checkpoint_bytes(self.parameters, self.settings, self.config.optimizer.name)

    @property
    def micro_batch(self) -> int:
        """Rows of one forward pass on one rank."""
        rows: int = self.settings.raw["train_micro_batch_size_per_gpu"]
        return rows


def of_members(said: Mapping[str, Findings]) -> list[Finding]:
    """What was found of each member of a family, by its place. What is an option of a run is a key of its entry."""
    return of_each(said, lambda text: _OF_ENTRY.sub("", text))


def places_of(names: Iterable[str]) -> dict[str, str]:
    """How messages name each student of the option `students`, by its name."""
    return {name: f"students[{number}] ({name})" for number, name in enumerate(names)}


@dataclass(frozen=True)
class Family:
    """The students of a run, which train on the same batches from one teacher pass; of most runs there is one.

    members: by name, each as the stage that it would be alone; data, batch, steps and measurements are the same in all,
    and measured are all students together. teacher: as deep as any of them needs. output: holds what is the run's;
    what is a member's is in its own `Stage.output`. recipe: as of a stage. solve: gives the trainees their first
    weights, at the beginning of a new run; every rank calls it. resume: --run.resume, as the user gives it.
    """

    members: Mapping[str, Stage]
    teacher: Teacher | None
    output: Path
    recipe: ProgramConfig | None = None
    solve: Callable[[World], None] | None = None
    resume: str = "auto"

    @staticmethod
    def of_one(stage: Stage) -> Family:
        resume = stage.config.run.resume
        return Family({STUDENT: stage}, stage.teacher, stage.output, stage.recipe, stage.solve, resume)

    @property
    def first(self) -> Stage:
        """Any of the members, for what is the same in all."""
        return next(iter(self.members.values()))

    @property
    def is_one(self) -> bool:
        return self.first.output == self.output

    @property
    def places(self) -> dict[str, str]:
        """How messages name each member, by its name."""
        return places_of(self.members)

    @property
    def drawing_interval(self) -> int | None:
        """Steps from picture to picture; None where there are none."""
        return next((stage.pictures.interval for stage in self.members.values() if stage.pictures), None)

    @property
    def checkpoint_bytes(self) -> int:
        """Of all members together."""
        return sum(stage.checkpoint_bytes for stage in self.members.values())

    @property
    def saves(self) -> list[int]:
        """After how many steps a run saves a checkpoint, unless it is stopped; of a solved student before the first,
        too."""
        every, last = self.first.config.run.save_interval, self.first.max_steps
        return [*([0] if self.solve else []), *range(every, last, every), last]

    @property
    def commands(self) -> Path:
        """The folder in which the file STOP ends the run."""
        return self.first.product.path.parent if self.is_one else self.output
