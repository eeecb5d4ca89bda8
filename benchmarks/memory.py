"""Memory that training steps take beyond what stood before them, in a process of its own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.job import Job

_STEPS = 3  # the first makes the optimizer's state, so the peak comes in the second


def step_memory(job: Job, variant: str) -> int:
    """Peak bytes of training steps over those before the first, measured in a fresh process.

    variant: literal, eager, step or floor, nothing of it compiled: the compiler's own memory would be counted. On CUDA
    bytes allocated by torch; else the resident memory of the process.
    Raises OSError where there is neither CUDA nor Linux's /proc.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, dataclasses.replace(job, compile="never"), variant).result()


def peak_growth(function: Callable[[], object], device: torch.device) -> int:
    """Bytes by which memory grew at most while `function` ran."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
    before = resident("VmRSS")
    function()
    return resident("VmHWM") - before


def _measure(job: Job, variant: str) -> int:
    from megatinybert.runtime import dist

    world = dist.start()  # before whatever imports DeepSpeed
    import transformers

    from benchmarks.variants import Bench

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        step = getattr(Bench(job, world), variant)()

        def steps() -> None:
            for _ in range(_STEPS):
                step()

        return peak_growth(steps, world.device)
    finally:
        dist.stop()


def resident(key: str) -> int:
    """Bytes, as /proc/self/status has them under VmRSS (now) or VmHWM (at most)."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]
