"""Continues a checkpoint at another number of ranks, ZeRO stage or precision.

Rank 0 gathers whole tensors from the checkpoint's files (full_state.py) and sends them to all ranks one by one; each
keeps its part. Nothing is written, so a conversion that is interrupted leaves the checkpoint as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import (
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints.full_state import MOMENTS, WEIGHT, About, FullState, read_full_state
from megatinybert.training.placement import Placement
from megatinybert.training.trainee import Trainee

# Of a checkpoint that is converted, as two cores did it for two and three ranks; for one they took a third of the time.
BYTES_PER_SECOND = 1e8

# What a ZeRO optimizer updates, by stage: float32, a part of it on each rank.
_FLAT = {
    1: "single_partition_of_fp32_groups",
    2: "single_partition_of_fp32_groups",
    3: "fp32_partitioned_groups_flat",
}


def check_target(settings: DeepSpeedSettings) -> None:
    """Raise ValueError where a run of these settings cannot take over a checkpoint of another placement."""
    zero = settings.raw.get("zero_optimization", {})
    problems = [
        f"zero_optimization.{block}.device nvme: the state would have to be written to that disk"
        for block in ("offload_optimizer", "offload_param")
        if (zero.get(block) or {}).get("device") == "nvme"
    ]
    accumulated = settings.raw.get("data_types", {}).get("grad_accum_dtype")
    if settings.precision == "bf16" and settings.stage == 1 and accumulated in ("fp32", "float32"):
        problems.append(f"data_types.grad_accum_dtype {accumulated} at ZeRO 1 is another optimizer of DeepSpeed's")
    if problems:
        text = f"the checkpoint is of another number of ranks, ZeRO stage or precision, and --deepspeed {settings.path}"
        raise ValueError(f"{text} cannot take it over: {'; '.join(problems)}. Leave that out, or set these back")


def load_converted(path: Path, trainees: Trainees, there: Placement, world: World) -> None:
    """Restore weights and optimizer state from a checkpoint that was written `there`. Every rank calls it.

    Raises ValueError on all ranks where its files do not hold the state of these trainees.
    """
    for name, engine in trainees.items():
        _take_over(engine, path / name, there, world)
    world.barrier()


def _take_over(engine: DeepSpeedEngine, folder: Path, there: Placement, world: World) -> None:
    parameters = _trained(engine)
    shapes = {name: _shape(parameter) for name, parameter in parameters.items()}
    gathered = FullState(shapes)  # filled on rank 0 alone: it is too much to be pickled for the others

    def gather() -> About:
        read_full_state(folder, there.stage, gathered)
        return gathered.about

    about = world.first(gather)
    _prepare(engine, about)
    for name, parameter in parameters.items():
        for kind in about.kinds:
            value = gathered.tensors.pop((kind, name)) if world.is_main else torch.empty(shapes[name])
            _place(engine, parameter, kind, world.broadcast(value.to(world.device)), world)


def _prepare(engine: DeepSpeedEngine, about: About) -> None:
    """Give the engine's optimizer a state for each of the tensors that it updates, all zeros, and the counts."""
    optimizer, stage = engine.optimizer, engine.zero_optimization_stage()
    if stage == 0:
        base, updated = optimizer, [p for group in optimizer.param_groups for p in group["params"]]
    else:
        base, updated = optimizer.optimizer, getattr(optimizer, _FLAT[stage])
    if len(about.kinds) > 1:
        for tensor in updated:
            base.state[tensor] = _zero_state(base, tensor, about.updates)
        if _counts_by_group(base):
            for group in base.param_groups:
                group["step"] = about.updates
    if stage in (1, 2):
        optimizer._lazy_init_hp_params_optimizer_state()  # so that the setters below find the moments
    if engine.fp16_enabled() and about.scaler is not None and about.scaler.dynamic:
        optimizer.loss_scaler = about.scaler
    for name, value in about.counters.items():
        setattr(engine, name, value)


def _zero_state(base: torch.optim.Optimizer, tensor: Tensor, updates: int) -> dict[str, Any]:
    """The state of AdamW of a tensor that has been updated so often."""
    state: dict[str, Any] = {kind: torch.zeros_like(tensor.data) for kind in MOMENTS}
    if isinstance(base, torch.optim.AdamW):
        state["step"] = torch.tensor(float(updates), device=tensor.device)  # where its fused kernel reads it
    elif not _counts_by_group(base):
        state["step"] = updates
    return state


def _counts_by_group(base: torch.optim.Optimizer) -> bool:
    return type(base).__module__.startswith("apex")


def _place(engine: DeepSpeedEngine, parameter: nn.Parameter, kind: str, value: Tensor, world: World) -> None:
    """Put a whole tensor, or what this rank has of it, in its place. Every rank calls it with the same value."""
    if kind == WEIGHT:
        with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
            parameter.data.copy_(value)  # rounded to the precision of the passes
    stage = engine.zero_optimization_stage()
    if stage == 0:
        if kind != WEIGHT:
            engine.optimizer.state[parameter][kind].copy_(value)
    elif stage < 3:
        if kind == WEIGHT:
            safe_set_full_fp32_param(parameter, value)
        else:
            safe_set_full_optimizer_state(parameter, value, kind)
    elif kind == WEIGHT:
        safe_set_local_fp32_param(parameter, _share(parameter, value, world))
    else:
        safe_set_local_optimizer_state(parameter, _share(parameter, value, world), kind)


def _share(parameter: Any, value: Tensor, world: World) -> Tensor:
    """This rank's share of a weight at ZeRO 3, padded: DeepSpeed's setter for whole tensors runs over their end."""
    size = parameter.ds_tensor.numel()
    padded = value.new_zeros(size * world.size)
    padded[: value.numel()] = value.flatten()
    return padded.narrow(0, size * world.rank, size)


def _trained(engine: DeepSpeedEngine) -> dict[str, nn.Parameter]:
    """What is trained, by name, in the order in which the optimizer has it (`optimizers.parameter_groups`)."""
    trainee: Trainee = engine.module
    named = [(name, parameter) for name, parameter in trainee.named_parameters() if parameter.requires_grad]
    fixed = {id(parameter) for parameter in trainee.objective.fixed}
    return dict(sorted(named, key=lambda item: 2 if id(item[1]) in fixed else int(len(_shape(item[1])) < 2)))


def _shape(parameter: nn.Parameter) -> torch.Size:
    """At ZeRO 3 the parameter itself is empty between passes."""
    return getattr(parameter, "ds_shape", parameter.shape)
