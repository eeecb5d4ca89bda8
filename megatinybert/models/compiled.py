"""A training step's passes through torch.compile.

A model that never changes is frozen into its graph on a CPU: inductor packs its weights for the products once. What
comes in another shape (the last batch of a measurement, say), and what is only measured, runs as it always does. So a
run compiles three graphs, those of teacher, student and objective; the teacher's twice where positions skip in
training, since they do not in measurements.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor, nn
from torch._functorch import config as functorch
from transformers import PreTrainedModel

from megatinybert.models.capture import Features, Wanted, run_captured

# As without torch.compile, a backward pass is in the precision that the forward pass had in each place. By default it
# would be traced under the autocast around the call, in 16 bits also where the score loss had left autocast.
_BACKWARD = functools.partial(functorch.patch, backward_pass_autocast="off")

_BUILT = {".so", ".o", ".gch", ".pch"}  # what g++ writes, a precompiled header too

Run = Callable[[dict[str, Tensor]], Features]
Terms = Callable[[Features, Features | None, dict[str, Tensor]], list[Tensor]]


def compiled_run(model: PreTrainedModel, shape: torch.Size, frozen: bool, wanted: Wanted | None = None) -> Run:
    """`run_captured` of `model` and `wanted`, compiled for batches whose input_ids have `shape`.

    frozen: it is never trained. Such a model is compiled for passes without a graph, another for those with one.
    """

    def parts(batch: dict[str, Tensor]) -> Any:
        return _parts(run_captured(model, batch, wanted))

    _count_apart(parts)
    on_cpu = next(model.parameters()).device.type == "cpu"
    options: Any = {"freezing": True} if frozen and on_cpu else {}
    compiled = torch.compile(parts, fullgraph=True, dynamic=False, options=options)

    traced = False

    def run(batch: dict[str, Tensor]) -> Features:
        nonlocal traced
        if batch["input_ids"].shape != shape or torch.is_grad_enabled() == frozen:
            return run_captured(model, batch, wanted)
        if not traced:
            # Transformers prepares a model in its first pass, in a way that cannot be traced.
            with torch.no_grad(), keeping_random_state(batch["input_ids"].device):
                run_captured(model, batch)
            traced = True
        with _BACKWARD():
            return Features(*compiled(batch))

    return run


def compiled_terms(objective: nn.Module) -> Terms:
    """The terms of an objective, compiled for the shapes that it is given."""

    def terms(student: Any, teacher: Any, batch: dict[str, Tensor]) -> list[Tensor]:
        return objective(Features(*student), Features(*teacher) if teacher else None, batch)

    _count_apart(terms)
    compiled = torch.compile(terms, fullgraph=True, dynamic=False)

    def run(student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        with _BACKWARD():
            return compiled(_parts(student), _parts(teacher) if teacher else None, batch)

    return run


def _count_apart(function: Any) -> None:
    """torch.compile compiles a piece of code eight times and no more: each model and objective is to have its own."""
    function.__code__ = function.__code__.replace()


def keeping_random_state(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """What is drawn within counts for nothing after: of this device, since torch else warns of all that there are."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def compiler_problem(stage: int, device: torch.device) -> str | None:
    """Why torch.compile does not go with a ZeRO stage or a device, and what would help; None where it does."""
    if stage == 3:
        return "ZeRO stage 3 gathers weights in the middle of the passes; take stage 2 or less"
    if device.type != "cpu":
        return _triton_problem(device)
    from torch._inductor.cpp_builder import get_cpp_compiler  # here, as it takes seconds to import
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        found = shutil.which(get_cpp_compiler())
    except InvalidCxxCompiler:
        found = None
    return None if found else "there is no C++ compiler; install g++"


def remove_unfinished_builds() -> int:
    """Remove what a killed process has left of C++ builds in inductor's cache of this machine: how many files.

    Inductor loads a library that is there, whole or not, and so fails in every later run. It builds in a folder beside
    the library, which goes once the library is whole; while it builds, it holds a lock. Nothing is removed while any
    process does.
    """
    from torch._inductor.codecache import get_lock_dir
    from torch._inductor.cpp_builder import _BUILD_TEMP_DIR
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    cache, ending = Path(cache_dir()), f"_{_BUILD_TEMP_DIR}"
    folders = list(cache.rglob(f"*{ending}"))
    unfinished = {file for file in cache.rglob("*.so") if not file.stat().st_size}
    for folder in folders:
        name = folder.name.removesuffix(ending)
        unfinished |= {file for file in folder.parent.glob(f"{name}.*") if file.suffix in _BUILT}
    if not unfinished or any(map(_is_held, Path(get_lock_dir()).glob("*.lock"))):
        return 0
    for file in unfinished:
        file.unlink()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(unfinished)


def _is_held(lock: Path) -> bool:
    try:
        with filelock.FileLock(lock, timeout=0):
            return False
    except filelock.Timeout:
        return True


def _triton_problem(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed, which compiles for GPUs; install it"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return "triton compiles for GPUs of capability 7.0 or more"
    compilers = [os.environ.get("CC", ""), "gcc", "clang", "cc"]
    if not any(shutil.which(name) for name in compilers if name):
        return "there is no C compiler, which triton builds its launcher with; install gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "there is no Python.h, which triton builds its launcher with; install Python's headers (python3-dev)"
    return None


def _parts(features: Features) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor | None]:
    return features.hidden_states, features.queries, features.keys, features.logits
