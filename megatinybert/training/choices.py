"""Which AdamW and LayerNorm kernels, and whether torch.compile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.training import TrainingConfig
from megatinybert.models.apex import apex_state
from megatinybert.models.compiled import compiler_problem
from megatinybert.training.optimizers import is_offloaded

OPTIMIZER, LAYER_NORM, COMPILE = "optimizer.implementation", "student.layer_norm", "run.compile"


@dataclass(frozen=True)
class Choice:
    """by: "torch", "apex" or "deepspeed"; of torch.compile "always" or "never". reason: why, for people."""

    by: str
    reason: str


@dataclass(frozen=True)
class Choices:
    """What a run uses."""

    optimizer: Choice = Choice("torch", "default")
    layer_norm: Choice = Choice("torch", "default")
    compilation: Choice = Choice("never", "default")

    @property
    def facts(self) -> dict[str, str]:
        """What a checkpoint remembers, by option."""
        return {OPTIMIZER: self.optimizer.by, LAYER_NORM: self.layer_norm.by, COMPILE: self.compilation.by}

    def __str__(self) -> str:
        use = "models compiled by" if self.compilation.by == "always" else "models run without"
        return (
            f"optimizer by {self.optimizer.by} ({self.optimizer.reason}), "
            f"LayerNorm by {self.layer_norm.by} ({self.layer_norm.reason}), "
            f"{use} torch.compile ({self.compilation.reason})"
        )


TORCH = Choices()


def settled(config: TrainingConfig, recorded: Mapping[str, Any]) -> dict[str, Choice]:
    """The choices that need no measuring, by option: those asked for, and those of the checkpoint.

    recorded: facts of the checkpoint that the run continues from, {} for a new run. "auto" takes what they say, so that
    the continued run computes the same.
    """
    choices: dict[str, Choice] = {}
    asked = {
        OPTIMIZER: config.optimizer.implementation,
        LAYER_NORM: config.student.layer_norm,
        COMPILE: config.run.compile,
    }
    for option, value in asked.items():
        if value != "auto":
            # The stages of a task have no option for it.
            by_itself = option == COMPILE and config.section != "run"
            choices[option] = Choice(value, "rows of a task differ in length" if by_itself else "asked for")
        elif option in recorded:
            choices[option] = Choice(recorded[option], "as in the checkpoint")
    return choices


def check_choices(
    config: TrainingConfig, settings: DeepSpeedSettings, device: torch.device, recorded: Mapping[str, Any]
) -> None:
    """Raise ValueError with all that stands against the choices that are settled."""
    choices = settled(config, recorded)
    problems = [problem for option, choice in choices.items() for problem in _against_apex(option, choice, device)]
    if OPTIMIZER in choices and config.optimizer.name == "adamw":
        problems += _against_settings(choices[OPTIMIZER], settings)
    compilation = choices.get(COMPILE)
    if compilation and compilation.by == "always":
        problem = compiler_problem(settings.stage, device)
        problems += [f"--{COMPILE} always ({compilation.reason}): {problem}, or --{COMPILE} never"] if problem else []
    if problems:
        raise ValueError("\n".join(problems))


def choose_implementations(config: TrainingConfig, settings: DeepSpeedSettings, recorded: Mapping[str, Any]) -> Choices:
    """Resolve --optimizer.implementation and --student.layer_norm; --run.compile is `compile_choice.settle_choices`'s.

    What is not `settled` is torch's, but for an optimizer that DeepSpeed has to run itself.
    """
    choices = settled(config, recorded)
    default = Choice("torch", "default")
    if OPTIMIZER not in choices and is_offloaded(settings) and config.optimizer.name == "adamw":
        choices[OPTIMIZER] = Choice("deepspeed", "for offload_optimizer")
    return Choices(choices.get(OPTIMIZER, default), choices.get(LAYER_NORM, default))


def _against_apex(option: str, choice: Choice, device: torch.device) -> list[str]:
    if choice.by != "apex":
        return []
    state = apex_state()
    if state.kind != "usable":
        return [f"--{option} apex ({choice.reason}): {state.sentence}. --{option} torch needs nothing"]
    if device.type != "cuda":
        return [f"--{option} apex ({choice.reason}) needs a CUDA device; this run is on {device.type}: take torch"]
    return []


def _against_settings(optimizer: Choice, settings: DeepSpeedSettings) -> list[str]:
    """How the choice of AdamW and the DeepSpeed file contradict each other."""
    problems = []
    if optimizer.by == "apex" and settings.stage == 3:
        problems.append(
            f"--{OPTIMIZER} apex ({optimizer.reason}) takes wrong steps at ZeRO stage 3 of --deepspeed "
            f"{settings.path}: it counts them by parameter group, and stage 3 updates a group in parts; take torch, "
            "or stage 2"
        )
    only_deepspeed = settings.raw.get("zero_force_ds_cpu_optimizer", True)
    if is_offloaded(settings) and (optimizer.by == "apex" or (optimizer.by == "torch" and only_deepspeed)):
        problems.append(
            f"--{OPTIMIZER} {optimizer.by} ({optimizer.reason}) does not go with offload_optimizer of --deepspeed "
            f"{settings.path}, which updates on the CPU by DeepSpeed's kernel: take deepspeed"
        )
    return problems
