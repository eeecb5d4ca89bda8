"""What general distillation makes of a student: its first weights by solving, and what is left of it at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import BertConfig

from megatinybert.config.general import GeneralConfig, SettledConfig
from megatinybert.config.run_folder import STUDENT_FOLDER
from megatinybert.models.load import Teacher, load_teacher, teacher_dtype
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import TrainingData
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.export import export_objective, export_student
from megatinybert.training.first_weights import OBJECTIVE_FILE, trained_positions
from megatinybert.training.model_card import Provenance, write_card
from megatinybert.training.solve.calibration import CUT, ROWS, Calibration
from megatinybert.training.solve.first import solve_first_weights
from megatinybert.training.solve.record import write_record
from megatinybert.training.solve.student import Solution
from megatinybert.training.stage import Facts
from megatinybert.training.trainee import Trainee


@dataclass(frozen=True)
class GeneralStudent:
    """What general distillation leaves: the student with its card, and what its objective learnt.

    teacher: configuration of the whole one; None of an objective without a teacher. positions: that the windows reach.
    windows: of one epoch. steps: of the run. beside: names of the students that were trained with it.
    is_chinese: whether the text is Chinese beyond doubt; asked at the end, as it reads some of it.
    """

    config: SettledConfig
    trainee: Trainee
    teacher: BertConfig | None
    tokenizer: str
    positions: int
    windows: int
    steps: int
    beside: tuple[str, ...] = ()
    is_chinese: Callable[[], bool] = bool

    @property
    def path(self) -> Path:
        return Path(self.config.run.output_dir) / STUDENT_FOLDER

    def is_made(self, facts: Facts) -> bool:
        """Never: the checkpoint says how far the run is, and to export once more costs little."""
        return False

    def make(self, trainees: Trainees, best: Best | None, facts: Facts, world: World) -> None:
        config, shape = self.config, self.trainee.student.config
        reached = self.positions if config.data.position_skips else config.data.sequence_length
        trained = trained_positions(config.student.init, reached, shape.max_position_embeddings)
        output = Path(config.run.output_dir)
        objective = config.objective.model_copy(update={"train_projection": not self.trainee.objective.fixed})
        export_objective(trainees.only, output / OBJECTIVE_FILE, objective, trained, world)
        export_student(trainees.only, self.path, self.tokenizer, world, sentence_length=trained)
        if world.is_main:
            run = Provenance(config, self.teacher, shape, self.steps, self.windows, self.beside, self.is_chinese())
            write_card(output, run)


@dataclass(frozen=True)
class Solver:
    """Gives a trainee its first weights by solving, on the first rows of its data. name: what it is called."""

    name: str
    config: GeneralConfig
    trainee: Trainee
    teacher: Teacher
    data: TrainingData

    def __call__(self, world: World) -> None:
        self.record(self.on(self.config.student.solve_tokens, world), world)

    def on(self, tokens: int, world: World) -> Solution:
        """Solve on about so many tokens, and record nothing."""
        return self.solve(self.calibration(tokens, world), world)

    def calibration(self, tokens: int, world: World) -> Calibration:
        return Calibration(self.data, tokens, self.config.data.sequence_length, ROWS, world, CUT)

    def solve(self, calibration: Calibration, world: World) -> Solution:
        config, taught_by = self.config, self.teacher
        if taught_by.quantize != "none":  # it is solved from the weights, which have to be there
            dtype = teacher_dtype(config.teacher.dtype, world.device)
            depth = self.trainee.objective.teacher_layers
            taught_by = load_teacher(str(config.teacher.model), depth, dtype, world.device)
        return solve_first_weights(self.trainee, taught_by, calibration, config.run.seed, world)

    def record(self, solution: Solution, world: World) -> None:
        world.say(f"{self.name}: {solution}")
        if world.is_main:
            write_record(Path(self.config.run.output_dir), solution.record)


@dataclass(frozen=True)
class SolverOfAll:
    """The same of several trainees, one after the other: those of equally many tokens share their batches, and what
    the teacher makes of them.
    """

    members: Mapping[str, Solver]

    def __call__(self, world: World) -> None:
        calibrations: dict[int, Calibration] = {}
        for solver in self.members.values():
            tokens = solver.config.student.solve_tokens
            calibration = calibrations.setdefault(tokens, solver.calibration(tokens, world))
            calibration.begin_again()
            solver.record(solver.solve(calibration, world), world)
