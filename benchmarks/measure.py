"""What the benchmarks share: timing in turns, and what they ran on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from megatinybert.runtime.hardware import computes_bfloat16
from megatinybert.runtime.stopwatch import seconds_of
from megatinybert.runtime.workers import usable_cores

WARM_UP = 2
Name = TypeVar("Name")


@dataclass(frozen=True)
class Times:
    """Seconds of repeated runs of one thing."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a share of the median."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(high - low) / self.median


def interleave(functions: Mapping[Name, Callable[[], object]], repeats: int, device: torch.device) -> dict[Name, Times]:
    """Time each function `repeats` times, in turns, after WARM_UP calls that do not count.

    Turns spread a slow spell of the machine over all of them.
    """
    for function in functions.values():
        for _ in range(WARM_UP):
            function()
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for name in turns(list(functions), repeats):
        seconds[name].append(seconds_of(functions[name], device))
    return {name: Times(values) for name, values in seconds.items()}


def turns(names: Sequence[Name], repeats: int) -> Iterator[Name]:
    """All names, `repeats` times; each round begins with another one, so that none always comes first."""
    for turn in range(repeats):
        first = turn % len(names)
        yield from [*names[first:], *names[:first]]


def native_dtypes(device: torch.device) -> list[torch.dtype]:
    """float32, and bfloat16 where the device has instructions for it; elsewhere it is slower than float32."""
    return [torch.float32, torch.bfloat16] if computes_bfloat16(device) else [torch.float32]


def environment(
    device: torch.device, packages: Sequence[str] = ("torch", "transformers", "deepspeed")
) -> dict[str, str]:
    """What a reader of a result needs to know: hardware, load, versions, commit, command."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    command = [Path(sys.executable).name, os.path.relpath(sys.argv[0]), *sys.argv[1:]]
    return {
        "hardware": _hardware(device),
        "load": f"{os.getloadavg()[0]:.1f} (1 minute average at the start)",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
        "commit": _commit(),
        "command": shlex.join(command),
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    native = "native bfloat16" if len(native_dtypes(device)) > 1 else "no native bfloat16"
    return f"{model}, {usable_cores()} cores, {torch.get_num_threads()} threads, {native}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
