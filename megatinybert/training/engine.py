"""The DeepSpeed engine of a trainee, and a trial of its first batch."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence

import deepspeed
import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.schema import OptimizerConfig
from megatinybert.models.layer_norm import use_apex_layer_norm
from megatinybert.models.load import Teacher
from megatinybert.runtime.counts import counted
from megatinybert.training.choices import TORCH, Choices
from megatinybert.training.muon import layer_matrices
from megatinybert.training.optimizers import build_optimizer, parameter_groups, updates_on_cpu
from megatinybert.training.trainee import Trainee, wanted_by

# What --deepspeed makes of the student's weights; under "bf16-autocast" they stay float32.
_WEIGHTS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "bf16-autocast": torch.float32}


def build_engine(
    trainee: Trainee, optimizer: OptimizerConfig, settings: DeepSpeedSettings, choices: Choices = TORCH
) -> DeepSpeedEngine:
    """Hand a trainee to DeepSpeed, with what is chosen for it. The trainee is on the run's device.

    Raises ValueError where a kernel of DeepSpeed's own cannot be compiled.
    """
    raw = copy.deepcopy(settings.raw)
    # DeepSpeed's own speedometer waits for the device at both ends of every micro batch, to print what we measure.
    raw.setdefault("timers", {}).setdefault("throughput", {"enabled": False})
    if optimizer.name == "sgd":
        raw["zero_allow_untested_optimizer"] = True
    if choices.layer_norm.by == "apex":
        use_apex_layer_norm(trainee.student)
    by_muon = layer_matrices(trainee.student) if optimizer.name == "muon" else []
    groups = parameter_groups(trainee, optimizer.weight_decay, trainee.objective.fixed, by_muon)
    on_cpu = updates_on_cpu(settings, next(trainee.parameters()).device)
    products = torch.bfloat16 if settings.precision == "bf16-autocast" else _WEIGHTS[settings.precision]
    client = build_optimizer(groups, optimizer, choices.optimizer.by, on_cpu, products)
    engine, *_ = deepspeed.initialize(model=trainee, optimizer=client, config=raw)
    if torch.distributed.get_world_size() == 1:
        # At ZeRO stage 0, DeepSpeed copies all gradients into one tensor and back also where there is nothing to sum: a
        # tenth of the time of a step of few tokens. What it does before that, zeros for what has no gradient, stays.
        engine.allreduce_and_copy = lambda bucket, group, world_size=None: None
    return engine


def dry_batch(
    trainee: Trainee,
    teacher: Teacher | None,
    batch: dict[str, Tensor],
    settings: DeepSpeedSettings,
    section: str = "run",
) -> list[str]:
    """Run forward and backward once at full shape on a copy of the trainee, before anything depends on it.

    section: of the option micro_batch. Returns the names of weights that the objective gives no gradient, which
    therefore keep their first values.
    Raises ValueError where a loss is not finite or memory does not suffice.
    """
    trial = trial_of(trainee, settings)
    try:
        (values,) = try_batch([trial], teacher, batch, settings)
    except torch.OutOfMemoryError as error:
        rows, length = batch["input_ids"].shape
        raise ValueError(
            f"a micro batch of {counted(rows, 'row')} of {length} tokens does not fit into memory: lower "
            f"--{section}.micro_batch"
        ) from error
    names = ["total", *(term.name for term in trainee.objective.terms)]
    bad = [name for name, value in zip(names, values.tolist(), strict=True) if not np.isfinite(value)]
    if bad:
        raise ValueError(
            f"before the first step the loss is not finite ({', '.join(bad)}): look at the two models' weights"
        )
    return [name for name, weight in trial.named_parameters() if weight.requires_grad and weight.grad is None]


def trial_of(trainee: Trainee, settings: DeepSpeedSettings) -> Trainee:
    """A copy to try things on, in the precision that an engine would have it in."""
    return copy.deepcopy(trainee).to(_WEIGHTS[settings.precision]).train()


def try_batch(
    trials: Sequence[Trainee], teacher: Teacher | None, batch: dict[str, Tensor], settings: DeepSpeedSettings
) -> list[Tensor]:
    """Forward and backward of each, without an update: [total, *unweighted terms], (1 + T,)."""
    features = teacher.features(batch, wanted_by(trials)) if teacher else None  # as in training, not under autocast
    found = []
    for trial in trials:
        with autocast(settings, batch["input_ids"].device):
            total, values, _ = trial(batch, trial.sees(features))
        total.backward()
        found.append(values)
    return found


def autocast(settings: DeepSpeedSettings, device: torch.device) -> contextlib.AbstractContextManager:
    if settings.precision == "bf16-autocast":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def arithmetic_dtype(engine: DeepSpeedEngine) -> torch.dtype:
    """What the student's matrix products are computed in."""
    return engine.torch_autocast_dtype() if engine.torch_autocast_enabled() else engine.get_data_types()[0]
