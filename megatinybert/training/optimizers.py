"""The optimizer of a trainee."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.schema import OptimizerConfig
from megatinybert.runtime.dist import World
from megatinybert.training.muon import RATE_FACTOR, MuonWithAdamW

_FIXED = "fixed"  # marks the group of weights that keep their values


def rates_in_words(config: OptimizerConfig) -> str:
    """Name and highest learning rates."""
    text = f"{config.name}, learning rate up to {config.learning_rate:g}"
    if config.name != "muon":
        return text
    return f"{text}, that of the layers' matrices up to {config.learning_rate * config.muon_factor:g}"


def parameter_groups(
    model: nn.Module, weight_decay: float, fixed: Sequence[nn.Parameter] = (), by_muon: Sequence[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Groups of what is trained: matrices with weight decay; vectors (biases, LayerNorm weights) without.

    fixed: weights that keep their values, in a third group, if there are any: checkpoints have them like all others,
    and `set_learning_rate` leaves theirs at 0. by_muon: matrices in a group of their own, before the others.
    """
    apart = {id(parameter) for parameter in (*fixed, *by_muon)}
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in apart]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if fixed:
        groups.append({"params": list(fixed), "weight_decay": 0.0, _FIXED: True})
    return [MuonWithAdamW.group(list(by_muon), weight_decay), *groups] if by_muon else groups


def set_learning_rate(groups: Iterable[dict[str, Any]], value: float) -> None:
    """Of the next step; `groups` are an optimizer's."""
    for group in groups:
        group["lr"] = 0.0 if group.get(_FIXED) else value * group.get(RATE_FACTOR, 1.0)


def build_optimizer(
    groups: list[dict[str, Any]],
    config: OptimizerConfig,
    implementation: str,
    on_cpu: bool,
    products: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """The optimizer that `config` describes, for DeepSpeed to wrap.

    implementation: of AdamW: "torch", "apex" or "deepspeed". All do the same update in another order of rounding.
    on_cpu: whether the update runs on a CPU; DeepSpeed has a kernel of its own for it. products: what matrix products
    are computed in, those of Muon's updates among them.
    Raises ValueError where DeepSpeed cannot compile its kernel.
    """
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    if config.name == "muon":
        return MuonWithAdamW(groups, config, products)
    constants: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "eps": config.eps}
    if implementation == "torch":
        return torch.optim.AdamW(groups, fused=True, **constants)
    if implementation == "apex":
        from apex.optimizers import FusedAdam

        return FusedAdam(groups, adam_w_mode=True, **constants)
    return _deepspeed_adamw(groups, constants, on_cpu)


def updates_on_cpu(settings: DeepSpeedSettings, device: torch.device) -> bool:
    """Whether the optimizer works in CPU memory, by the device or by offload_optimizer of the DeepSpeed file."""
    return device.type == "cpu" or is_offloaded(settings)


def is_offloaded(settings: DeepSpeedSettings) -> bool:
    offload = settings.raw.get("zero_optimization", {}).get("offload_optimizer")
    return offload is not None and offload.get("device", "cpu") != "none"


def prepare_kernel(config: OptimizerConfig, implementation: str, on_cpu: bool, world: World) -> None:
    """Make way for DeepSpeed's build of its AdamW kernel, and tell of it. All ranks call it."""
    if config.name != "adamw" or implementation != "deepspeed":
        return
    from deepspeed.git_version_info import installed_ops
    from torch.utils.cpp_extension import _get_build_directory

    name = "cpu_adam" if on_cpu else "fused_adam"
    folder = Path(_get_build_directory(name, verbose=False))
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    removed = world.count(first_here and remove_stale_lock(folder / "lock"))  # a barrier: none builds before
    if removed:
        world.say(f"removed {folder / 'lock'}, which a build that was interrupted has left: it would be waited for")
    if not installed_ops.get(name) and not (folder / f"{name}.so").is_file():
        world.say("compiling DeepSpeed's optimizer kernel: a minute or more the first time")


def remove_stale_lock(lock: Path) -> bool:
    """Remove the lock of a build of a torch extension where no process of this machine has it open: whether it did.

    Torch waits as long as the file is there, and keeps it open while it builds. A kill leaves it.
    """
    if not lock.is_file() or not Path("/proc/self/fd").is_dir():  # where it cannot be told
        return False
    wanted = lock.stat()
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = opened.stat()
        except OSError:  # ended in the meantime, or of another user
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return False
    lock.unlink(missing_ok=True)
    return True


def _deepspeed_adamw(groups: list[dict[str, Any]], constants: dict[str, Any], on_cpu: bool) -> torch.optim.Optimizer:
    from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam

    try:
        if on_cpu:
            return DeepSpeedCPUAdam(groups, adamw_mode=True, **constants)
        return FusedAdam(groups, adam_w_mode=True, **constants)
    except Exception as error:  # its builders fail in many ways, from a missing compiler to a compiler's error
        needed = "a C++ compiler" if on_cpu else "a C++ compiler and nvcc of the CUDA version of torch"
        raise ValueError(
            f"--optimizer.implementation deepspeed: DeepSpeed compiles its kernel at the first use, which failed here: "
            f"{error.__cause__ or error}; it needs {needed}, and ninja. --optimizer.implementation torch needs none"
        ) from error
