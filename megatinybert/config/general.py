"""Options of launch/general.sh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from megatinybert.config.data import DataConfig
from megatinybert.config.first_weights import by_first_weights
from megatinybert.config.monitor import MonitorConfig
from megatinybert.config.program import Program
from megatinybert.config.recipe import flatten
from megatinybert.config.removed import REMOVED
from megatinybert.config.schema import (
    FIRST_WEIGHTS,
    DeepSpeedFile,
    OpenOptimizerConfig,
    OpenRunConfig,
    OptimizerConfig,
    ProgramConfig,
    Quantize,
    RunConfig,
    ScheduleConfig,
    Section,
    StudentConfig,
    TeacherConfig,
    replaced,
)
from megatinybert.config.transfer import TransferConfig
from megatinybert.config.values import FractionAboveZero, NonNegative, Text
from megatinybert.config.whole_teacher import refuse_whole_teacher

# The names of the table in megatinybert/objectives/, which is further up the house.
OBJECTIVES = ("tinybert", "mlm")


class GeneralTeacherConfig(TeacherConfig):
    """The model to learn from: frozen, and run only as deep as the objective looks."""

    model: Text | None = Field(  # type: ignore[assignment]
        None, description="a BERT folder in Hugging Face form, or a hub name; required except for the objective mlm"
    )
    tokenizer: Text | None = Field(
        None,
        description="folder or hub name of the shards' tokenizer (null: the teacher's, or without one student.init's)",
    )
    quantize: Quantize = Field(
        "none", description="matrix products in 8 bits by torchao: int8, or fp8 on GPUs that have it"
    )
    deepspeed: Text | None = Field(
        None, description="DeepSpeed configuration that partitions the teacher over the ranks, such as teacher-zero3"
    )


class _ObjectiveName(Section):
    name: Literal[*OBJECTIVES] = Field(  # type: ignore[valid-type]
        "tinybert",
        description="tinybert: match attention scores, hidden states, embeddings; mlm: predict masked tokens",
    )


class ObjectiveConfig(TransferConfig, _ObjectiveName):  # pydantic puts the fields of the last base first
    """What the student is taught."""

    attention_weight: NonNegative = Field(
        0.3,
        description="weight of the attention-score term (0: off; 1 by default where the student is not solved)",
    )
    train_projection: bool | None = Field(
        None, description="whether the map to the teacher's width is trained (null: not where it was solved)"
    )


class GeneralStudentConfig(StudentConfig):
    """The model to train."""

    init: Text = Field("solved", description=f"{FIRST_WEIGHTS}; of other objectives than tinybert, random by default")


class MaskedLmConfig(Section):
    """Masked-language modelling, the objective mlm."""

    train: Literal["whole", "head"] = Field(
        "whole",
        description="all weights (whole), or only the head, on the frozen body of student.init (head)",
    )
    probability: FractionAboveZero = Field(
        0.15, description="share of a window's tokens to predict, special tokens not counted"
    )


class MemberConfig(Section):
    """One student of several, with the sections that may be its own; config/family.py reads it."""

    name: Text
    student: GeneralStudentConfig
    objective: ObjectiveConfig
    optimizer: OpenOptimizerConfig
    schedule: ScheduleConfig


class GeneralConfig(ProgramConfig):
    """All options of general distillation. What is null of batch, passes and learning rate, `training.size` settles."""

    removed = REMOVED
    of_others: ClassVar[Mapping[str, str]] = {
        "data.teacher_cache": "a teacher's scores and hidden states are larger than its pass would repay (the doctor "
        "tells their size); in tasks --two.teacher_cache keeps its logits",
        "task.data_dir": "text is named by --data.text",
    }

    teacher: GeneralTeacherConfig = GeneralTeacherConfig()
    student: GeneralStudentConfig = GeneralStudentConfig()
    data: DataConfig
    objective: ObjectiveConfig = Field(ObjectiveConfig(), validate_default=True)
    mlm: MaskedLmConfig = Field(MaskedLmConfig(), validate_default=True)
    optimizer: OpenOptimizerConfig = OpenOptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: OpenRunConfig = OpenRunConfig()
    monitor: MonitorConfig = MonitorConfig()
    deepspeed: DeepSpeedFile = "auto"
    students: Annotated[list[MemberConfig], WithJsonSchema({"type": "array", "items": {"type": "object"}})] | None = (
        Field(
            None,
            title="Several students that are trained from one teacher pass.",
            description="list of students, each with a name and its own values of the sections student, objective, "
            "optimizer and schedule; or a YAML file of such a list (null: one student)",
        )
    )

    @property
    def section(self) -> str:
        return "run"

    @property
    def auto_stage(self) -> int:
        return 0 if self.optimizer.name == "muon" else 1

    @model_validator(mode="before")
    @classmethod
    def _by_first_weights(cls, values: Any) -> Any:
        filled = dict(values)
        for option, value in by_first_weights(flatten(values)).items():
            section, key = option.split(".")
            content = filled.get(section, {})
            if isinstance(content, dict):  # else it is a section that is whole
                filled[section] = {**content, key: value}
        return filled

    @field_validator("objective")
    @classmethod
    def _something_to_learn_from(cls, objective: ObjectiveConfig, info: ValidationInfo) -> ObjectiveConfig:
        teacher, student = info.data.get("teacher"), info.data.get("student")
        if teacher is None or student is None:  # where they are wrong themselves, that is reported
            return objective
        if objective.name != "mlm" and teacher.model is None:
            raise ValueError(
                "--teacher.model: required, and not given (a BERT folder in Hugging Face form, or a hub name)"
            )
        if objective.name == "mlm" and student.init in ("teacher", "solved"):
            raise ValueError(
                f"--student.init {student.init}: the objective mlm has no teacher; name a model folder, or random"
            )
        if objective.name == "mlm" and student.init == "random" and not (teacher.model or teacher.tokenizer):
            raise ValueError(
                "--teacher.tokenizer: required for the objective mlm, and not given (the folder or hub name of a "
                "tokenizer; where --student.init names a model folder, its own is the default)"
            )
        return objective

    @field_validator("objective")
    @classmethod
    def _rows_to_shorten(cls, objective: ObjectiveConfig, info: ValidationInfo) -> ObjectiveConfig:
        data = info.data.get("data")
        if objective.name == "mlm" and data and data.short_rows:
            raise ValueError(
                f"--data.short_rows {data.short_rows:g}: masked tokens (objective mlm) are drawn in whole windows; "
                "set it to 0"
            )
        return objective

    @field_validator("run")
    @classmethod
    def _shapes_to_compile_for(cls, run: OpenRunConfig, info: ValidationInfo) -> OpenRunConfig:
        objective = info.data.get("objective")
        if run.compile == "always" and objective and objective.name == "mlm":
            raise ValueError(
                "--run.compile always: batches of masked tokens (objective mlm) differ in shape; take auto"
            )
        return run

    @field_validator("mlm")
    @classmethod
    def _body_to_stay(cls, mlm: MaskedLmConfig, info: ValidationInfo) -> MaskedLmConfig:
        student = info.data.get("student")
        if mlm.train == "head" and student and student.init == "random":
            raise ValueError("--mlm.train head: the body stays as it is, so name its folder with --student.init")
        return mlm

    @model_validator(mode="after")
    def _parts_of_a_teacher(self) -> GeneralConfig:
        if self.teacher.deepspeed and self.objective.name != "mlm":
            students = [member.student for member in self.students or []] or [self.student]
            refuse_whole_teacher([student.init for student in students], self.teacher.quantize, self.run.compile)
        return self

    @staticmethod
    def inferred(values: Mapping[str, Any]) -> dict[str, Any]:
        return by_first_weights(values)

    @staticmethod
    def without_effect(values: Mapping[str, Any]) -> dict[str, str]:
        values = {**by_first_weights(values), **values}
        off = replaced(values)
        sections: dict[str, type[Section]] = {"objective": TransferConfig, "monitor": MonitorConfig}
        if values.get("objective.name") != "mlm":
            sections = {"mlm": MaskedLmConfig}
        else:
            of_teacher = ("teacher.dtype", "teacher.quantize", "teacher.deepspeed", "objective.train_projection")
            off |= dict.fromkeys((*of_teacher, "student.solve_tokens"), "objective.name")
        off |= {f"{name}.{key}": "objective.name" for name, each in sections.items() for key in each.model_fields}
        if values.get("data.shards") is not None:
            of_text = ("cache", "encoding", "invalid_utf8", "text_key", "document", "skip_bad_records")
            off |= {f"data.{name}": "data.shards" for name in of_text}
            if values.get("data.text") is not None:
                off["data.text"] = "data.shards"
        return off


class SettledConfig(GeneralConfig):
    """The same with nothing left open: a `TrainingConfig`, and what is its own."""

    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()


_USAGE = """\
usage:
  deepspeed launch/general.sh [--config RECIPE.yaml] [--section.key VALUE ...]   all devices of this machine
  sh launch/general.sh [...]              the same; launcher options come from the environment:
                                          HOSTFILE=FILE, DEEPSPEED_ARGS="--num_accelerators 2 ..."
  python -m megatinybert.general [...]    one process

Distils a student from a BERT teacher on unlabelled text. A recipe is a YAML file holding any subset of the
options below; those on the command line (--section.key VALUE or --section.key=VALUE) are applied over it in
order, and VALUE null goes back to the default. An option that takes a list takes all words up to the next
option (--data.text a.txt b.txt), or '[A, B]'. Relative paths, those in a recipe too, are relative to the
working directory. The recipe owns batch, learning rate and steps; the DeepSpeed configuration owns
precision, ZeRO and communication.

  --config RECIPE.yaml          the recipe (none: command line and defaults only)
  --print-config                print the resolved configuration, itself a valid recipe, and stop
  --help                        print this text and stop
"""

GENERAL = Program(GeneralConfig, _USAGE)
