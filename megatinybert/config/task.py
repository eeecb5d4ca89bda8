"""Options of launch/task.sh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from megatinybert.config.duration import TIME_LIMIT, Duration
from megatinybert.config.faults import LOST_AFTER, RESTARTS, Patience
from megatinybert.config.monitor import MonitorConfig
from megatinybert.config.program import Program
from megatinybert.config.rows import RowOptions, TaskName
from megatinybert.config.schema import (
    FIRST_WEIGHTS,
    MADE_WEIGHTS,
    STEADY_WIDTH,
    DeepSpeedFile,
    ProgramConfig,
    ScheduleConfig,
    Section,
    StudentConfig,
    TeacherConfig,
    UpdateConfig,
    replaced,
    split_batch,
)
from megatinybert.config.transfer import TransferConfig
from megatinybert.config.values import (
    Count,
    FractionAboveZero,
    Index,
    LearningRate,
    Names,
    NonNegative,
    Positive,
    Text,
    Whole,
)

ACTIONS = ("teacher", "augment", "one", "two", "eval", "predict", "all")
READING = ("eval", "predict")  # those that may run beside a run in training
CONTINUES_ANYWAY = "--task.force true continues anyway"  # at the end of what it overrules
OF_PREDICTIONS = (".tsv", ".jsonl")  # how the name of a file of them ends

# Where a stage's epochs are not given: tokens that it sees in all, which suits two CPU cores, and the most passes.
TOKENS_BY_DEFAULT, MOST_EPOCHS = 500_000, 20
_EPOCHS = f"passes over the rows (null: enough for {TOKENS_BY_DEFAULT:,} tokens, at most {MOST_EPOCHS}"
# Where a stage's learning rate is not given, by the section of its options. A BERT-base, wider than STEADY_WIDTH, is
# fine-tuned at 5e-5, the highest that its paper tried.
RATES = {"finetune": 1e-4, "mlm": 3e-4, "one": 3e-4, "two": 1e-4}


def _rate(section: str, more: str = "") -> Any:
    least = f"{RATES[section]:g}, divided by width / {STEADY_WIDTH} for a wider model"
    return Field(None, description=f"peak learning rate (null: {least}{more})")


class TaskTeacherConfig(TeacherConfig):
    """The model to learn from: a BERT that the stage "teacher" fine-tunes, or one that is fine-tuned on the task."""

    labels: Names | None = Field(
        None, description="names of a fine-tuned teacher's outputs, in its order (null: those of its config.json)"
    )


class TaskStudentConfig(StudentConfig):
    """The model to train."""

    config: Text | None = Field(  # type: ignore[assignment]
        None,
        description="a shipped shape, or a folder or config.json of a BERT to take it from (null: that of"
        " student.init)",
    )
    init: Text = Field(
        "solved", description=f"{FIRST_WEIGHTS}; solved: from the fine-tuned teacher, on the task's rows"
    )


class _TaskName(Section):
    name: TaskName = Field(description="a GLUE task, such as sst-2, or custom")
    data_dir: Text = Field(description="folder of the task's files")


class TaskDataConfig(RowOptions, _TaskName):  # pydantic puts the fields of the last base first
    """The task and its files."""

    kind: Literal["auto", "classification", "regression"] = Field(
        "auto", description="kind of a custom task; auto: regression if labels are numbers and not all whole"
    )
    labels: Names | None = Field(None, description="classes of a custom task, in order (null: those of its files)")
    max_length: Whole | None = Field(
        None, ge=8, description="tokens per row, including special tokens, at least 8 (null: 64, for pairs 128)"
    )
    skip_bad_rows: bool = Field(False, description="skip and count rows that cannot be parsed")
    force: bool = Field(False, description="continue with a teacher no better than one answer to all rows")


class StageConfig(Section):
    """One stage of training."""

    epochs: Positive | None = Field(None, description=f"{_EPOCHS})")
    max_steps: Count | None = Field(None, description="optimizer steps, instead of epochs")
    global_batch: Count = Field(32, description="rows per optimizer step, over all ranks")
    micro_batch: Count | None = Field(
        None, description="rows per forward pass on one rank (null: largest that divides evenly, up to 32)"
    )
    learning_rate: LearningRate | None


class FinetuneConfig(StageConfig):
    """Stage "teacher": the teacher learns the task from its labels."""

    epochs: Positive | None = Field(None, description=f"{_EPOCHS}, and at least 1)")
    learning_rate: LearningRate | None = _rate("finetune")


class StageOneConfig(StageConfig):
    """Stage "one": the student learns the teacher's layers on the task's rows."""

    epochs: NonNegative | None = Field(None, description=f"{_EPOCHS}; 0: skip the stage)")
    learning_rate: LearningRate | None = _rate("one")


class StageTwoConfig(StageConfig):
    """Stage "two": the student learns the teacher's answers."""

    learning_rate: LearningRate | None = _rate("two")
    temperature: Positive = Field(1.0, description="temperature of both models' logits (classification)")
    hard_label_weight: NonNegative = Field(0.0, description="weight of an additional loss on the labels")
    teacher_cache: Literal["auto", "always", "never"] = Field(
        "auto",
        description="keep the teacher's logits of all rows, computed once; auto: for more than one pass over the rows",
    )


class MlmConfig(StageConfig):
    """Stage "mlm": a masked-LM out of a teacher without a head, trained on the task's texts, for the augmentation."""

    train: Literal["whole", "head"] = Field(
        "whole", description="a copy of the whole teacher (whole), or only a head on its frozen body (head)"
    )
    learning_rate: LearningRate | None = _rate("mlm", "; 1e-3 suits a head alone")


class AugmentConfig(Section):
    """Rewritten copies of the training rows."""

    copies: Index | Literal["published"] = Field(
        0,  # with the default budgets copies cost time and have shown no gain (docs/results.md)
        description="rewritten copies per row, at most (0: no augmentation; published: the authors' numbers)",
    )
    rows: Index = Field(10_000, description="number of rows to rewrite, chosen by the seed (0: all)")
    probability: FractionAboveZero = Field(0.4, description="chance that a word is replaced in a copy")
    candidates: Count = Field(15, description="words to choose a replacement from")
    vectors: Text | None = Field(
        None, description="word vectors in GloVe's text format, for words of several pieces (null: masked-LM only)"
    )
    model: Text | None = Field(
        None,
        description="folder or hub name of the masked-LM that proposes words (null: teacher.model, with a head trained"
        " if it has none)",
    )
    segmenter: Literal["none", "jieba"] = Field(
        "none", description="how Chinese words are found; none: each character is one"
    )


class LayersConfig(TransferConfig):
    """What the student learns of the teacher's layers in stage "one"."""

    normalize: Literal["reference", "valid"] = Field(
        "valid",
        description="means over all positions, as in TinyBERT's code (reference), or unpadded ones (valid)",
    )


class TaskRunConfig(Section):
    """Randomness, and what is written when and where."""

    output_dir: Text = Field("runs/task", description="folder for models, results and the stages' metrics")
    seed: Index = Field(0, description="seed of weights, order, dropout and augmentation")
    log_interval: Count = Field(10, description="steps between logged metrics")
    save_interval: Count = Field(500, description="steps between checkpoints; also at a stage's last step")
    held_out_interval: Count | None = Field(
        None,
        description="steps between measurements on development rows (null: ten in a stage, fewer where these rows are "
        "many); also at step 0 and the last",
    )
    keep_checkpoints: Count = Field(1, description="number of newest checkpoints of a stage to keep")
    time_limit: Duration | None = Field(None, description=TIME_LIMIT)
    restarts: Index = Field(0, description=RESTARTS)
    lost_after: Patience = Field("60s", description=LOST_AFTER)


class PredictConfig(Section):
    """What the actions "eval" (its model) and "predict" read and write."""

    model: Text | None = Field(None, description="fine-tuned model for eval or predict (null: the run's student)")
    labels: Names | None = Field(None, description="names of its outputs, in order (null: those of its config.json)")
    input: Text | None = Field(None, description="file to predict (null: the task's test files)")
    output: Text | None = Field(None, description=".tsv or .jsonl file (null: in predictions/ of output_dir)")

    @field_validator("output")
    @classmethod
    def _is_table_or_objects(cls, output: str | None) -> str | None:
        if output is not None and not output.endswith(OF_PREDICTIONS):
            raise ValueError(f"predictions are written as {' or '.join(OF_PREDICTIONS)}: name such a file")
        return output


class TaskConfig(ProgramConfig):
    """All options of task distillation."""

    of_others: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("data.text", "data.shards"), "the files of a task are in --task.data_dir"),
        "data.sequence_length": "rows are cut to --task.max_length tokens",
    }

    task: TaskDataConfig
    teacher: TaskTeacherConfig
    student: TaskStudentConfig = TaskStudentConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    augment: AugmentConfig = AugmentConfig()
    mlm: MlmConfig = MlmConfig()
    one: StageOneConfig = StageOneConfig()
    two: StageTwoConfig = StageTwoConfig()
    objective: LayersConfig = LayersConfig()
    optimizer: UpdateConfig = UpdateConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    run: TaskRunConfig = TaskRunConfig()
    predict: PredictConfig = PredictConfig()
    monitor: MonitorConfig = MonitorConfig()
    deepspeed: DeepSpeedFile = "auto"

    @field_validator("finetune", "mlm", "one", "two")
    @classmethod
    def _whole_micro_batches(cls, stage: StageConfig, info: ValidationInfo) -> StageConfig:
        split_batch(stage.global_batch, stage.micro_batch, world_size=1, section=str(info.field_name))
        return stage

    @model_validator(mode="after")
    def _a_shape(self) -> TaskConfig:
        if self.student.config is None and self.student.init in MADE_WEIGHTS:
            raise ValueError(
                f"--student.init {self.student.init} has no shape of its own: name one with --student.config, such as "
                "4L-312, or give --student.init the general student"
            )
        return self

    @staticmethod
    def without_effect(values: Mapping[str, Any]) -> dict[str, str]:
        off = replaced(values)
        for stage in ("finetune", "mlm", "one", "two"):
            if values.get(f"{stage}.max_steps") is not None:
                off[f"{stage}.epochs"] = f"{stage}.max_steps"
        return off


USAGE = """\
usage:
  deepspeed launch/task.sh ACTION [--config RECIPE.yaml] [--section.key VALUE ...]   all devices of this machine
  sh launch/task.sh ACTION [...]          the same; launcher options come from the environment:
                                          HOSTFILE=FILE, DEEPSPEED_ARGS="--num_accelerators 2 ..."
  python -m megatinybert.task ACTION [...]   one process

ACTION is one of
  teacher   fine-tune the teacher on the task
  augment   rewrite training rows with a masked-LM
  one       the student learns the teacher's layers
  two       the student learns the teacher's answers
  eval      teacher and student side by side
  predict   answer the task's test files, or any file
  all       all of these but predict, each unless it is done already

A recipe is a YAML file holding any subset of the options below; those on the command line (--section.key VALUE or
--section.key=VALUE) are applied over it in order, and VALUE null goes back to the default. Relative paths are
relative to the working directory.

  --config RECIPE.yaml          the recipe (none: command line and defaults only)
  --print-config                print the resolved configuration, itself a valid recipe, and stop
  --help                        print this text and stop
"""

TASK = Program(TaskConfig, USAGE)
