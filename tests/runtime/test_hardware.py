"""Whether a device computes bfloat16 natively."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from megatinybert.runtime.hardware import computes_bfloat16, has_bfloat16


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": True}, True),
        (
            {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False, "amx_int8": True},
            False,
        ),
        ({"architecture": "x86_64", "avx2": True}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False, "fp16_arith": True}, False),
    ],
)
def test_cpus(capabilities: dict[str, object], expected: bool) -> None:
    assert has_bfloat16(capabilities) is expected


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc/cpuinfo")
def test_this_cpu_is_as_the_kernel_says() -> None:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next(line for line in lines if line.startswith(("flags", "Features"))).partition(":")[2].split()
    assert computes_bfloat16(torch.device("cpu")) == bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


@pytest.mark.gpu
def test_gpus_have_it_from_ampere_on() -> None:
    for index in range(torch.cuda.device_count()):
        native = torch.cuda.get_device_capability(index) >= (8, 0)
        assert computes_bfloat16(torch.device("cuda", index)) == native
