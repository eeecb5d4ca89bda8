"""The teacher's matrix products in 8 bits, by torchao.

A teacher never changes, so its weights are rounded once, with a scale for each output. Activations have a scale for
each token, computed in every pass. Both are symmetric. LayerNorm, attention, embeddings and what enters the objective
keep the teacher's dtype.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from megatinybert.config.schema import Quantize
from megatinybert.runtime.findings import Finding

_INSTALL = "pip install 'torchao>=0.18'"
_FP8_CAPABILITY = (8, 9)  # Ada Lovelace, Hopper


def quantize_products(model: nn.Module, kind: Quantize) -> None:
    """Replace the weights of all linear layers of `model`, in place, by 8-bit ones. It is not to be trained after.

    Raises ValueError where torchao or the device cannot do it.
    """
    if kind == "none":
        return
    weight = next(model.parameters())
    problem = quantize_problem(kind, weight.device, weight.dtype)
    if problem:
        raise ValueError(problem)
    from torchao import quantization  # here: it is optional
    from torchao.quantization.quantize_.common import KernelPreference

    # False: inductor's settings are the process's, and would change other graphs with this one.
    config: Any = (
        quantization.Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
        if kind == "int8"
        else quantization.Float8DynamicActivationFloat8WeightConfig(
            granularity=quantization.PerRow(),
            kernel_preference=KernelPreference.TORCH,  # others look for packages in each pass, which cannot be traced
            set_inductor_config=False,
        )
    )
    quantization.quantize_(model, config)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and type(module.weight) is nn.Parameter:
            raise ValueError(
                f"--teacher.quantize {kind}: torchao leaves {name} ({tuple(module.weight.shape)}) as it is, as for "
                "widths that are no multiples of 16: take none"
            )


def quantize_problem(kind: Quantize, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why --teacher.quantize cannot be had here, and what would help; None where it can. dtype: of the teacher."""
    if kind == "none":
        return None
    if importlib.util.find_spec("torchao") is None:
        return f"--teacher.quantize {kind} needs torchao, which is not installed: {_INSTALL}, or take none"
    if kind == "fp8" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < _FP8_CAPABILITY):
        return (
            f"--teacher.quantize fp8 needs a CUDA device of capability {'.'.join(map(str, _FP8_CAPABILITY))} or more "
            f"(Ada Lovelace, Hopper); this run is on {device.type}: take int8, or none"
        )
    if kind == "fp8" and dtype != torch.bfloat16:
        name = str(dtype).removeprefix("torch.")
        return f"--teacher.quantize fp8 needs --teacher.dtype bf16, or auto; it is {name}"
    return None


def check_quantized(kind: Quantize, compilation: str) -> list[Finding]:
    """Whether --run.compile goes with --teacher.quantize."""
    if kind == "none" or compilation != "never":
        return []
    text = (
        f"--teacher.quantize {kind} with --run.compile never: without torch.compile each product rounds its input in "
        "passes of its own, slower than in 16 bits; take auto"
    )
    return [Finding("warn", "teacher", text)]
