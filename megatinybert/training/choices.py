"""What a run uses where there is a choice: whose AdamW, whose LayerNorm for the student, and torch.compile or not."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.schema import OptimizerConfig, TrainingConfig
from megatinybert.models.apex import apex_state
from megatinybert.models.compiled import compiler_problem
from megatinybert.models.layer_norm import ApexLayerNorm
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import median_seconds
from megatinybert.training.optimizers import build_optimizer, is_offloaded, parameter_groups
from megatinybert.training.trainee import Trainee

OPTIMIZER, LAYER_NORM, COMPILE = "optimizer.implementation", "student.layer_norm", "run.compile"

# apex must be this much faster to be taken: less is within the noise of a short measurement.
_MARGIN = 0.95
_ROUNDS, _CALLS = 9, 10  # of a measurement; calls in a round, since one is short


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
        return (
            f"optimizer by {self.optimizer.by} ({self.optimizer.reason}), "
            f"LayerNorm by {self.layer_norm.by} ({self.layer_norm.reason}), "
            f"torch.compile {self.compilation.by} ({self.compilation.reason})"
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
            choices[option] = Choice(value, "asked for")
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


def choose_implementations(
    config: TrainingConfig,
    settings: DeepSpeedSettings,
    trainee: Trainee,
    tokens: int,
    world: World,
    recorded: Mapping[str, Any],
) -> Choices:
    """Resolve --optimizer.implementation and --student.layer_norm, to the same on every rank. All ranks call it.
    --run.compile is left to `compile_choice.settle_choices`.

    tokens: of a micro batch. What is not `settled` is torch's, or on CUDA the faster of torch's and apex's where all
    ranks can use apex: rank 0 measures, on tensors shaped as in this run.
    """
    choices = settled(config, recorded)
    default = Choice("torch", "default")
    measure = not {OPTIMIZER, LAYER_NORM} <= choices.keys() and _apex_everywhere(world)
    if OPTIMIZER not in choices:
        if is_offloaded(settings) and config.optimizer.name == "adamw":
            choices[OPTIMIZER] = Choice("deepspeed", "for offload_optimizer")
        elif measure and settings.stage < 3 and config.optimizer.name == "adamw":
            updates = functools.partial(_updates, trainee, config.optimizer, settings, world)
            choices[OPTIMIZER] = _faster(updates, world)
    if LAYER_NORM not in choices and measure:
        width = trainee.student.config.hidden_size
        choices[LAYER_NORM] = _faster(functools.partial(_layer_norms, tokens, width, settings, world), world)
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


def _apex_everywhere(world: World) -> bool:
    """Whether all ranks can use apex."""
    if world.device.type != "cuda":
        return False
    usable = torch.tensor(float(apex_state().kind == "usable"), device=world.device)
    return int(world.sum(usable)) == world.size


def _faster(candidates: Callable[[], dict[str, Callable[[], object]]], world: World) -> Choice:
    """The faster of the candidates "torch" and "apex" on rank 0."""
    seconds = torch.zeros(2, dtype=torch.float64, device=world.device)
    if world.is_main:
        try:
            median = median_seconds(candidates(), world.device, _ROUNDS, calls=_CALLS)
            seconds = seconds.new_tensor([median["torch"], median["apex"]])
        except RuntimeError as error:  # such as kernels compiled for other GPUs
            print(f"warning: apex is not used, as its kernels fail here: {error}", file=sys.stderr)
            seconds = seconds.new_tensor([0.0, float("inf")])
    by_torch, by_apex = world.sum(seconds).tolist()
    if by_apex == float("inf"):
        return Choice("torch", "apex fails here")
    by = "apex" if by_apex < _MARGIN * by_torch else "torch"
    return Choice(by, f"measured: torch {1e3 * by_torch:.3f} ms, apex {1e3 * by_apex:.3f} ms")


def _updates(
    trainee: Trainee, config: OptimizerConfig, settings: DeepSpeedSettings, world: World
) -> dict[str, Callable[[], object]]:
    """An update by torch and by apex, of float32 tensors as DeepSpeed hands them over.

    That is every parameter at stage 0, and above it one flat tensor for each group: this rank's share of it.
    """
    updates: dict[str, Callable[[], object]] = {}
    for by in ("torch", "apex"):
        groups = parameter_groups(trainee, config.weight_decay)
        for group in groups:
            sizes = [parameter.numel() for parameter in group["params"]]
            if settings.stage > 0:
                sizes = [-(-sum(sizes) // world.size)]
            group["params"] = [nn.Parameter(torch.randn(size, device=world.device)) for size in sizes]
            for parameter in group["params"]:
                parameter.grad = torch.randn_like(parameter)
        updates[by] = build_optimizer(groups, config, by, on_cpu=False).step
    return updates


def _layer_norms(rows: int, width: int, settings: DeepSpeedSettings, world: World) -> dict[str, Callable[[], object]]:
    """Forward and backward of one LayerNorm by torch and by apex, for the rows of a micro batch."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision, torch.float32)
    options: dict[str, Any] = {"device": world.device, "dtype": dtype}
    states = torch.randn(rows, width, requires_grad=True, **options)
    upstream = torch.randn(rows, width, **options)

    def both_ways(norm: nn.LayerNorm) -> object:
        return torch.autograd.grad(norm(states), [states, norm.weight, norm.bias], upstream)

    norms = {"torch": nn.LayerNorm(width, 1e-12, **options), "apex": ApexLayerNorm(width, 1e-12, **options)}
    return {by: functools.partial(both_ways, norm) for by, norm in norms.items()}
