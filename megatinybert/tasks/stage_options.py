"""A task's options for the engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.config.schema import (
    MADE_WEIGHTS,
    STEADY_WIDTH,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    Section,
    StudentConfig,
)
from megatinybert.config.task import (
    MOST_EPOCHS,
    RATES,
    TOKENS_BY_DEFAULT,
    FinetuneConfig,
    StageConfig,
    StageTwoConfig,
    TaskConfig,
)
from megatinybert.models.shapes import shape_in_files, shape_named
from megatinybert.training.same_run import SHAPE, facts_of_first_weights

# The section of each stage's options.
SECTIONS = {"teacher": "finetune", "mlm": "mlm", "one": "one", "two": "two"}
PRODUCTS = {"teacher": "teacher", "mlm": "mlm", "one": "student-one", "two": "student"}  # the model folder of each
TAUGHT = ("one", "two")  # the sections of those that have a teacher
SINGLE_LENGTH, PAIR_LENGTH = 64, 128  # tokens of a row, in the published runs
_FEWEST_MEASUREMENTS, _MOST_MEASUREMENTS = 3, 10  # in a stage


@dataclass(frozen=True)
class StageTraining:
    """A `training.TrainingConfig`. section: of the stage's own options."""

    section: str
    student: StudentConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    run: RunConfig
    deepspeed: str

    @property
    def auto_stage(self) -> int:
        return 0  # fine-tuned models fit on one device, and one gains by it


def steps_of(stage: StageConfig, rows: int, tokens: int) -> int:
    """Optimizer steps of a stage on so many rows, which hold so many tokens."""
    if stage.max_steps is not None:
        return stage.max_steps
    epochs = stage.epochs
    if epochs is None:
        fewest = 1.0 if isinstance(stage, FinetuneConfig) else 0.0  # a poor teacher spoils all that follows
        epochs = min(max(TOKENS_BY_DEFAULT / tokens, fewest), MOST_EPOCHS)
    return math.ceil(epochs * rows / stage.global_batch)


def peak_rate(config: TaskConfig, section: str, width: int) -> float:
    """The peak learning rate of a stage whose model has so many hidden units."""
    stage: StageConfig = getattr(config, section)
    return stage.learning_rate or float(f"{RATES[section] / max(width / STEADY_WIDTH, 1):.2g}")


def length_of_rows(config: TaskConfig, pair: bool) -> int:
    """Tokens of a row, special ones included, at most. pair: whether it has two texts."""
    return config.task.max_length or default_length(pair)


def default_length(pair: bool) -> int:
    """The same where --task.max_length is null."""
    return PAIR_LENGTH if pair else SINGLE_LENGTH


def has_stage_one(config: TaskConfig) -> bool:
    """Whether the student learns layers before it learns answers."""
    return config.one.epochs != 0 or config.one.max_steps is not None


def longer(config: TaskConfig, section: str) -> str:
    """How to train a stage longer than the options say, by the one of them that counts."""
    stage: StageConfig = getattr(config, section)
    if stage.max_steps is not None:
        return f"--{section}.max_steps above {stage.max_steps:,}"
    return f"--{section}.epochs" + ("" if stage.epochs is None else f" above {stage.epochs:g}")


def better_student(config: TaskConfig) -> str:
    """What to do about a student that has learnt nothing, beside what the options do already."""
    stages = [section for section in TAUGHT if section != "one" or has_stage_one(config)]
    ways = [f"Train it longer ({', '.join(longer(config, section) for section in stages)})"]
    ways.append("train on more rows")
    if config.student.init in MADE_WEIGHTS:
        kinds = "" if config.student.init == "solved" else "solved, or "
        ways.append(f"take better first weights (--student.init {kinds}a general student)")
    return f"{', '.join(ways[:-1])}, or {ways[-1]}."


def keeps_answers(stage: StageTwoConfig, rows: int, steps: int) -> bool:
    """Whether the teacher answers each of so many rows once, and not in each pass over them."""
    return stage.teacher_cache == "always" or (stage.teacher_cache == "auto" and steps * stage.global_batch > rows)


def stage_folder(output: Path, name: str) -> Path:
    """Of a stage's checkpoints and metrics. output: of the task; name: of the stage."""
    return output / "stages" / name


def facts_of_options(config: TaskConfig, name: str, width: int | None = None) -> dict[str, Any]:
    """What the options of a stage say of its result, known before anything is opened. name: of the stage. width: of
    its model; by default as files of it say, and where none does, nothing is said of a learning rate by default.
    """
    section = SECTIONS[name]
    stage: StageConfig = getattr(config, section)
    shape = _shape_in_files(config, section)
    width = width or (shape[1] if shape else 0)
    rate = {f"--{section}.learning_rate": peak_rate(config, section, width)} if width or stage.learning_rate else {}
    return {
        **_facts(f"--{section}", stage, {"epochs", "max_steps", "micro_batch", "teacher_cache", "learning_rate"}),
        **rate,
        **_facts("--optimizer", config.optimizer, {"implementation"}),
        **_facts("--schedule", config.schedule, set()),
        **({} if stage.max_steps is None else {"steps": stage.max_steps}),
        **(_of_student(config, shape) if section in TAUGHT else {}),
        **({"objective": config.objective.model_dump(mode="json")} if section == "one" else {}),
        "run.seed": config.run.seed,
    }


def _shape_in_files(config: TaskConfig, section: str) -> list[int] | None:
    """Of a stage's model, as of `shape_in_files`. Of a model on the hub it is told later."""
    wanted = config.student
    # Where no shape is named it is that of the first weights.
    return shape_in_files(shape_named(wanted.config, wanted.init)[0] if section in TAUGHT else config.teacher.model)


def _of_student(config: TaskConfig, shape: list[int] | None) -> dict[str, Any]:
    wanted = config.student
    return {
        **({SHAPE: shape} if shape else {}),
        **facts_of_first_weights(wanted),
        "student dropout": [wanted.hidden_dropout, wanted.attention_dropout],
    }


def _facts(section: str, options: Section, without: set[str]) -> dict[str, Any]:
    return {f"{section}.{key}": value for key, value in options.model_dump(mode="json", exclude=without).items()}


def measuring_interval(config: TaskConfig, section: str, steps: int, measured: int) -> int:
    """Steps between measurements of a stage of so many. measured: rows of each measurement; by default all of them
    together have no more rows than the stage trains on, if that leaves a few.
    """
    stage: StageConfig = getattr(config, section)
    times = min(max(steps * stage.global_batch // measured, _FEWEST_MEASUREMENTS), _MOST_MEASUREMENTS)
    return config.run.held_out_interval or math.ceil(steps / times)


def measurements_of(config: TaskConfig, section: str, steps: int, measured: int) -> int:
    """How often a stage is measured, before its first step and after its last among them. The arguments are those of
    `measuring_interval`.
    """
    return 1 + math.ceil(steps / measuring_interval(config, section, steps, measured)) if steps else 0


def training_of(
    config: TaskConfig,
    section: str,
    folder: Path,
    max_steps: int,
    interval: int | None = None,
    width: int = STEADY_WIDTH,
) -> StageTraining:
    """What the engine is told of the stage whose options are `section`. folder: of its checkpoints and metrics.
    interval: steps between measurements. width: hidden units of its model, by which its learning rate is chosen where
    none is given.
    """
    stage: StageConfig = getattr(config, section)
    every = config.run
    return StageTraining(
        section=section,
        student=config.student,
        optimizer=OptimizerConfig(**config.optimizer.model_dump(), learning_rate=peak_rate(config, section, width)),
        schedule=config.schedule,
        run=RunConfig(
            output_dir=str(folder),
            max_steps=max_steps,
            global_batch=stage.global_batch,
            micro_batch=stage.micro_batch,
            seed=every.seed,
            compile="never",  # rows of many lengths
            log_interval=every.log_interval,
            save_interval=every.save_interval,
            held_out_interval=interval,
            keep_checkpoints=every.keep_checkpoints,
            time_limit=every.time_limit,
            lost_after=every.lost_after,
        ),
        deepspeed=config.deepspeed,
    )
