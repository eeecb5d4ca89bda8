"""Peak speed of the hardware, known or measured."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from megatinybert.runtime.counts import counted
from megatinybert.runtime.stopwatch import seconds_of
from megatinybert.runtime.waiting import Waiting, much
from megatinybert.runtime.workers import usable_cores

# TFLOP/s of dense matrix products that add up in float32, from NVIDIA's data sheets at the default power limit; the
# figures with sparsity are twice these. Names are those of the driver; of one with a dtype left out, it is measured.
_H100 = {"fp16": 989.4, "bf16": 989.4, "tf32": 494.7, "fp32": 67.0}
_TABLE: list[tuple[str, dict[str, float]]] = [
    (r"V100-SXM[23]-\d+GB", {"fp16": 125.0, "fp32": 15.7}),
    (r"V100-PCIE-\d+GB", {"fp16": 112.0, "fp32": 14.0}),
    (r"T4", {"fp16": 65.0, "fp32": 8.1}),
    (r"A10", {"fp16": 125.0, "bf16": 125.0, "tf32": 62.5, "fp32": 31.2}),
    (r"A30", {"fp16": 165.0, "bf16": 165.0, "tf32": 82.0, "fp32": 10.3}),
    (r"A40", {"fp16": 149.7, "bf16": 149.7, "tf32": 74.8, "fp32": 37.4}),
    (r"A100[- ](SXM4-|PCIE-)?\d+GB( PCIe)?", {"fp16": 312.0, "bf16": 312.0, "tf32": 156.0, "fp32": 19.5}),
    (r"L4", {"fp16": 121.0, "bf16": 121.0, "tf32": 60.0, "fp32": 30.3}),
    (r"L40S", {"fp16": 362.0, "bf16": 362.0, "tf32": 183.0, "fp32": 91.6}),
    (r"H100 80GB HBM3", _H100),  # the SXM board
    (r"H100 PCIe", {"fp16": 756.0, "bf16": 756.0, "tf32": 378.0, "fp32": 51.0}),
    (r"H100 NVL", {"fp16": 835.0, "bf16": 835.0, "tf32": 417.0, "fp32": 60.0}),
    (r"H200", _H100),
    (r"B200", {"fp16": 2250.0, "bf16": 2250.0}),
    (r"GeForce RTX 3090", {"fp16": 71.0, "bf16": 71.0, "tf32": 35.6, "fp32": 35.6}),
    (r"GeForce RTX 4090", {"fp16": 165.2, "bf16": 165.2, "tf32": 82.6, "fp32": 82.6}),
]
_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


def available_memory() -> int:
    """Bytes of this machine that are free, or can be made so, swap included."""
    return int(psutil.virtual_memory().available + psutil.swap_memory().free)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; elsewhere it is slower than float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and has_bfloat16(torch.cpu.get_capabilities())


def has_bfloat16(capabilities: Mapping[str, object]) -> bool:
    """Whether a CPU computes bfloat16: by AVX-512 or AMX (x86), or Arm's own. capabilities: torch's, by name."""
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@dataclass(frozen=True)
class Peak:
    """The rate of one device. source: "table: NVIDIA H200", or "measured", and whether on busy cores."""

    flops_per_second: float
    dtype: str
    source: str

    def __str__(self) -> str:
        return f"{self.flops_per_second / 1e12:,.3g} TFLOP/s in {self.dtype} ({self.source})"


def find_peak(dtype: torch.dtype, device: torch.device) -> Peak:
    """The peak in float32, float16 or bfloat16: from the table, else measured, which takes less than a second."""
    name = "tf32" if dtype == torch.float32 and _uses_tf32(device) else _NAMES[dtype]
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = look_up(hardware, name)
    if known is not None:
        return Peak(known, name, f"table: {hardware}")
    waiting = Waiting()
    rate, waited = measure_peak(dtype, device), waiting.share()
    is_busy = device.type == "cpu" and much(waited)
    source = f"measured on busy cores, waiting {100 * waited:.0f} % of the time: too low" if is_busy else "measured"
    return Peak(rate, name, source)


def look_up(hardware: str, dtype: str) -> float | None:
    """Operations a second from the table; None for a device that is not in it, such as a slice of a GPU."""
    bare = re.sub(r"^(NVIDIA|Tesla) ", "", hardware)
    for pattern, peaks in _TABLE:
        if re.fullmatch(pattern, bare):
            return peaks[dtype] * 1e12 if dtype in peaks else None
    return None


def measure_peak(dtype: torch.dtype, device: torch.device, seconds: float = 0.2) -> float:
    """Operations a second of the best of the square matrix products that fit into `seconds`."""
    product = large_product(dtype, device)
    end, best = time.perf_counter() + seconds, seconds_of(product, device)
    while time.perf_counter() < end:
        best = min(best, seconds_of(product, device))
    flops = product.flops
    if device.type == "cuda":
        del product
        torch.cuda.empty_cache()  # the run is to have this memory
    return flops / best


class MatrixProduct:
    """A product of square matrices. flops: operations of one call."""

    def __init__(self, side: int, dtype: torch.dtype, device: torch.device) -> None:
        self.side, self.flops = side, 2 * side**3
        # Random, because GPUs run faster on constants; of a generator of its own, because runs are repeatable.
        generator = torch.Generator(device).manual_seed(0)
        values = torch.rand(2, side, side, generator=generator, device=device)
        self._a, self._b = values.to(dtype)
        self._out = torch.empty_like(self._a)

    def __call__(self) -> None:
        torch.matmul(self._a, self._b, out=self._out)


def large_product(dtype: torch.dtype, device: torch.device) -> MatrixProduct:
    """The smallest product, warmed up, that keeps the device busy for 10 ms: large enough to reach its peak."""
    side = 256
    while True:
        product = MatrixProduct(side, dtype, device)
        product()
        if side == 8192 or seconds_of(product, device) > 0.01:
            return product
        side *= 2


def _uses_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32


def memory(device: torch.device) -> dict[str, float]:
    """memory/ tags of this process, in bytes."""
    scalars = {"memory/peak_bytes": float(peak_memory(device))}
    if device.type == "cuda":
        scalars["memory/reserved_bytes"] = float(torch.cuda.memory_reserved(device))
    statm = Path("/proc/self/statm")
    if statm.exists():  # Linux
        scalars["memory/resident_bytes"] = float(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    return scalars


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def hardware_name(device: torch.device) -> str:
    """What one rank computes on, such as "NVIDIA H200" or "Intel(R) Xeon(R) Processor, 2 cores"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cores, information = usable_cores(), Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {counted(cores, 'core')}"
