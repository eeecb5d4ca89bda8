"""The student's attention on a CPU: bfloat16, or float32 in its place, forward and backward.

    python benchmarks/attention.py [--lengths 64 128 ...] [--repeats 10]

The table it prints is the reason for `_FLOAT32_BELOW` in megatinybert/models/attention.py; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.measure import environment, interleave

# Head widths: of 4L-312 and 3L-312, of 6L-384, of 6L-768.
_WIDTHS = (26, 32, 64)
_LENGTHS = (64, 128, 256, 384, 512, 1024)
_HEADS, _TOKENS = 12, 4096
CPU = torch.device("cpu")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the student's attention in bfloat16 and in float32.")
    parser.add_argument("--lengths", type=int, nargs="+", default=_LENGTHS, metavar="S")
    parser.add_argument("--repeats", type=int, default=10, help="timed runs of each (default: 10)")
    options = parser.parse_args(arguments)
    for name, value in environment(CPU).items():
        print(f"- {name}: {value}")
    amx = "with AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    print(f"- {_TOKENS:,} tokens, {_HEADS} heads, {amx}; bfloat16 / float32 in ms, forward and backward\n")
    print("| length |", " | ".join(f"width {width}" for width in _WIDTHS), "|")
    print("|---" * (1 + len(_WIDTHS)) + "|")
    for length in options.lengths:
        cells = []
        for width in _WIDTHS:
            narrow, wide = measure(max(_TOKENS // length, 1), length, width, options.repeats)
            cells.append(f"{narrow * 1000:.1f} / {wide * 1000:.1f}")
        print(f"| {length} |", " | ".join(cells), "|", flush=True)


def measure(batch: int, length: int, width: int, repeats: int) -> tuple[float, float]:
    """Median seconds of both, on bfloat16 queries, keys and values in BERT's layout, conversions included."""
    shape = (batch, length, _HEADS, width)
    q, k, v = (torch.randn(shape).bfloat16().transpose(1, 2).requires_grad_() for _ in range(3))
    upstream = torch.randn(shape).bfloat16().transpose(1, 2)

    def run(attend: Callable[[], Tensor]) -> None:
        torch.autograd.grad(attend(), (q, k, v), upstream)

    def narrow() -> Tensor:
        return scaled_dot_product_attention(q, k, v)

    def wide() -> Tensor:
        return scaled_dot_product_attention(q.float(), k.float(), v.float()).bfloat16()

    times = interleave({"narrow": lambda: run(narrow), "wide": lambda: run(wide)}, repeats, CPU)
    return times["narrow"].median, times["wide"].median


if __name__ == "__main__":
    main()
