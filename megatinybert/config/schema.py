"""Option sections that programs share.

A schema gives every option with its type, its limits and its default; the command line, --help and the messages about
mistakes are derived from it (load.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from megatinybert.config.duration import TIME_LIMIT, Duration
from megatinybert.config.faults import LOST_AFTER, RESTARTS, Patience, check_restarts
from megatinybert.config.nearest import nearest
from megatinybert.config.removed import Fixed
from megatinybert.config.values import (
    Count,
    Fraction,
    FractionBelowOne,
    Index,
    LearningRate,
    NonNegative,
    Positive,
    Text,
)

STUDENTS_FOLDER = Path(__file__).parents[1] / "models" / "students"
LARGEST_AUTOMATIC_MICRO_BATCH = 32
_LARGEST_SUGGESTED = 65_536  # micro batch, so that a mistyped global batch does not take for ever
MADE_WEIGHTS = ("random", "solved", "teacher")  # what --student.init says where it names no model
# Hidden units up to which learning rates by default are the same; a wider model's is divided by its share of them.
STEADY_WIDTH = 384


class ConfigError(ValueError):
    """A user's mistake in a recipe, an option or a DeepSpeed configuration; it lists every problem found.

    problems: each by itself.
    """

    def __init__(self, text: str, problems: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.problems = list(problems) or [text]

    @classmethod
    def of(cls, problems: list[str]) -> Self:
        """One problem by itself, or several as a list."""
        indented = [problem.replace("\n", "\n    ") for problem in problems]
        several = "\n  ".join([f"{len(problems)} problems in the configuration:", *indented])
        return cls(several if len(problems) > 1 else problems[0], problems)


def shipped_students() -> list[str]:
    """Names of the student shapes that come with the package, such as "4L-312"."""
    return sorted(path.stem for path in STUDENTS_FOLDER.glob("*.json"))


def split_batch(global_batch: int, micro_batch: int | None, world_size: int, section: str = "run") -> tuple[int, int]:
    """(micro batch, accumulation steps); see `load.resolve_batch`. section: of the two options."""
    unit = world_size * (micro_batch or 1)
    share = global_batch // world_size
    if global_batch % unit == 0:
        if micro_batch is None:
            sizes = range(min(share, LARGEST_AUTOMATIC_MICRO_BATCH), 0, -1)
            micro_batch = next(size for size in sizes if share % size == 0)
        return micro_batch, share // micro_batch
    below = global_batch - global_batch % unit
    fixes = f"--{section}.global_batch " + (f"{below} or {below + unit}" if below else f"{unit}")
    ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
    if micro_batch is None:
        raise ConfigError(f"--{section}.global_batch {global_batch} is not a multiple of {ranks}; try {fixes}")
    if global_batch % world_size == 0:
        divisors = [size for size in range(1, min(share, _LARGEST_SUGGESTED) + 1) if share % size == 0]
        around = [d for d in divisors if d < micro_batch][-1:] + [d for d in divisors if d > micro_batch][:1]
        fixes += f", or --{section}.micro_batch {' or '.join(map(str, around))}"
    factors = f"--{section}.micro_batch {micro_batch} x {ranks}"
    raise ConfigError(f"--{section}.global_batch {global_batch} is not a multiple of {factors}; try {fixes}")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Quantize = Literal["none", "int8", "fp8"]


class TeacherConfig(Section):
    """The model to learn from: frozen, and run only as deep as the objective looks."""

    model: Text = Field(description="a BERT folder in Hugging Face form, or a hub name; fine-tuned on the task or not")
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto",
        description="precision; auto: fp16 on CUDA, bf16 on a CPU that computes it natively, else fp32",
    )
    tokenizer: Text | None = Field(None, description="folder or hub name of the tokenizer (null: the teacher's)")


FIRST_WEIGHTS = (
    "first weights: random, solved (from the teacher, by linear algebra), teacher (layers by the layer map; needs the"
    " same width), a model folder of the same shape, or a finished run's output folder (with its projection)"
)


class StudentConfig(Section):
    """The model to train."""

    config: Text = Field("4L-312", description="a shipped shape, or a BERT's folder or config.json")
    init: Text = Field("random", description=FIRST_WEIGHTS)
    solve_tokens: Count = Field(
        32_768,
        description="tokens that first weights are solved on, as far as there is text, in whole batches of 16 rows"
        " (2048 are 3584 of windows of 128): of windows at least so many, of a task's rows about so many",
    )
    hidden_dropout: FractionBelowOne = Field(0.0, description="dropout of embeddings and sublayer outputs")
    attention_dropout: FractionBelowOne = Field(
        0.0, description="dropout of attention weights; above 0, CPU attention is several times slower"
    )
    layer_norm: Literal["auto", "torch", "apex"] = Field(
        "auto", description="LayerNorm kernels of torch or NVIDIA apex; auto: torch"
    )

    @field_validator("config")
    @classmethod
    def _shipped_or_path(cls, value: str | None) -> str | None:
        if value is None or value in shipped_students() or "/" in value or os.path.exists(value):
            return value
        meant = nearest(value, shipped_students())
        hint = f"did you mean {meant}?" if meant else "check the spelling"
        raise ValueError(f"neither a shipped shape ({', '.join(shipped_students())}) nor an existing folder; {hint}")


UpdateRule = Literal["adamw", "muon", "sgd"]
RULES = "the update rule; muon: for the matrices of the student's layers, at ZeRO stage 0, AdamW for the rest"


class UpdateConfig(Section):
    """The optimizer; biases and LayerNorm weights are not decayed."""

    name: UpdateRule = Field("adamw", description=RULES)
    implementation: Literal["auto", "torch", "apex", "deepspeed"] = Field(
        "auto",
        description="AdamW kernels of torch, NVIDIA apex or DeepSpeed (compiled on first use); auto: torch, or"
        " DeepSpeed if its file offloads the optimizer",
    )
    betas: tuple[FractionBelowOne, FractionBelowOne] = Field(
        (0.9, 0.999), description="decay rates of AdamW's two running means"
    )
    eps: Positive = Field(1e-6, description="added to AdamW's denominator")
    weight_decay: NonNegative = Field(0.01, description="weight decay, except on biases and LayerNorm weights")
    gradient_clipping: NonNegative = Field(1.0, description="maximum norm of the whole gradient (0: off)")
    muon_factor: Positive = Field(
        3.0, description="Muon's learning rate, as a multiple of learning_rate, by which AdamW updates the rest"
    )


class _LearningRate(Section):
    learning_rate: LearningRate | None = Field(
        None, description="peak learning rate (null: 1e-3, and less in long runs and for wide students)"
    )


class OpenOptimizerConfig(UpdateConfig, _LearningRate):
    """The optimizer; biases and LayerNorm weights are not decayed."""

    name: UpdateRule = Field(
        "muon", description=f"{RULES} (adamw by default where the student is not solved, or a DeepSpeed file is named)"
    )


class OptimizerConfig(OpenOptimizerConfig):
    """The same with nothing left open."""

    name: UpdateRule = Field("adamw", description=RULES)
    learning_rate: LearningRate = Field(1e-4, description="peak learning rate")


class ScheduleConfig(Section):
    """The learning rate over the run: a linear warm-up, then down to zero (constant: level)."""

    type: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="after the warm-up: linear or cosine down to 0, or constant"
    )
    warmup_fraction: Fraction = Field(0.1, description="share of all steps in the linear warm-up")
    warmup_steps: Index | None = Field(None, description="warm-up steps, instead of warmup_fraction")


class OpenRunConfig(Section):
    """Length, batch, randomness, and what is written when."""

    output_dir: Text = Field("runs/general", description="folder for checkpoints, metrics and the exported student")
    max_steps: Count | None = Field(None, description="optimizer steps, instead of epochs")
    epochs: Positive | None = Field(
        None, description="passes over the training windows (null: 3, and up to 10 of little text)"
    )
    global_batch: Count | None = Field(
        None,
        description="windows per optimizer step, over all ranks (null: a power of two, 16 to 256, by the run's length)",
    )
    micro_batch: Count | None = Field(
        None,
        description="windows per forward pass on one rank (null: largest that divides evenly,"
        f" up to {LARGEST_AUTOMATIC_MICRO_BATCH})",
    )
    seed: Index = Field(0, description="seed of weights, order and dropout")
    compile: Literal["auto", "always", "never"] = Field(
        "auto",
        description="torch.compile; auto: in runs of 15 minutes or more, if a short measurement finds it faster",
    )
    log_interval: Count = Field(10, description="steps between logged metrics")
    save_interval: Count = Field(500, description="steps between checkpoints; also at the last step")
    held_out_interval: Count | None = Field(
        None, description="steps between held-out measurements; also at both ends (null: 250, or a quarter of the run)"
    )
    keep_checkpoints: Count = Field(2, description="number of newest checkpoints to keep")
    keep_every: Count | None = Field(None, description="keep also the checkpoints of steps that are multiples of this")
    skip_bad_batches: Index = Field(0, description="batches to leave out whose loss or gradient is not finite, at most")
    async_save: bool = Field(False, description="write checkpoints beside training, from a copy in host memory")
    time_limit: Duration | None = Field(None, description=TIME_LIMIT)
    restarts: Index = Field(0, description=RESTARTS)
    lost_after: Patience = Field("60s", description=LOST_AFTER)
    resume: Text = Field("auto", description="auto (newest whole checkpoint or a new run), never, or a checkpoint")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_restarts(self.restarts, self.resume)
        if self.global_batch is not None:
            split_batch(self.global_batch, self.micro_batch, world_size=1)
        return self


class RunConfig(OpenRunConfig):
    """The same with nothing left open."""

    epochs: Positive = Field(3.0, description="passes over the training windows")
    global_batch: Count = Field(256, description="windows per optimizer step, over all ranks")


DeepSpeedFile = Annotated[
    str,
    Field(
        min_length=1,
        title="How the engine runs.",
        description="DeepSpeed configuration: a path (from the working directory, else the repository) or a name"
        " such as zero2-bf16; auto: bf16 autocast where every rank's device computes bf16 natively, else float32",
    ),
]


class ProgramConfig(Section):
    """All options of a program.

    removed: those that it had, by dotted name. of_others: of those that only another program has, what is here instead.
    """

    removed: ClassVar[Mapping[str, Fixed]] = {}
    of_others: ClassVar[Mapping[str, str]] = {}

    @staticmethod
    def inferred(values: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults, by dotted name, that other options' values determine."""
        return {}

    @staticmethod
    def without_effect(values: Mapping[str, Any]) -> dict[str, str]:
        """Options, by dotted name, that another option's value leaves without effect, each with that other option."""
        raise NotImplementedError


def replaced(values: Mapping[str, Any]) -> dict[str, str]:
    """The same of the options that every run has."""
    off: dict[str, str] = {}
    if values.get("run.max_steps") is not None:
        off["run.epochs"] = "run.max_steps"
    if values.get("schedule.warmup_steps") is not None:
        off["schedule.warmup_fraction"] = "schedule.warmup_steps"
    if values.get("student.init") not in (None, "solved"):
        off["student.solve_tokens"] = "student.init"
    if values.get("optimizer.name") == "muon":
        off["optimizer.implementation"] = "optimizer.name"
    else:
        off["optimizer.muon_factor"] = "optimizer.name"
    if values.get("optimizer.name") == "sgd":
        off |= dict.fromkeys(("optimizer.implementation", "optimizer.betas", "optimizer.eps"), "optimizer.name")
    return off
