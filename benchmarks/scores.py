"""Where the Gram form of the score loss overtakes the literal one, forward and backward.

    python benchmarks/scores.py [--lengths 32 64 ...] [--repeats 10]

The table it prints is the reason for `takes_gram_form`; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
from torch import Tensor

from benchmarks.measure import environment, interleave, native_dtypes
from megatinybert.objectives.scores import gram_square_sum, literal_square_sum, takes_gram_form
from megatinybert.runtime.devices import choose_accelerator

# Head widths: of 4L-312 under MiniLM and under BERT-base, of 6L-384 and 6L-768 under BERT-base.
_WIDTHS = ((26, 32), (26, 64), (32, 64), (64, 64))
_LENGTHS = (32, 48, 64, 80, 96, 128, 160, 256, 512)
_HEADS = 12
_TOKENS = {"cpu": 4096, "cuda": 65536}
Form = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, str], Tensor]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the two forms of the attention-score loss.")
    parser.add_argument("--lengths", type=int, nargs="+", default=_LENGTHS, metavar="S")
    parser.add_argument("--repeats", type=int, default=10, help="timed runs of each (default: 10)")
    options = parser.parse_args(arguments)
    device = choose_accelerator()
    tokens, dtype = _TOKENS[device.type], native_dtypes(device)[-1]
    for name, value in environment(device).items():
        print(f"- {name}: {value}")
    print(f"- {tokens:,} tokens, {_HEADS} heads, {str(dtype).removeprefix('torch.')} queries and keys")
    print("- literal / Gram in ms, forward and backward; * where `takes_gram_form` takes the Gram form\n")
    print("| length |", " | ".join(f"widths {d_s} + {d_t}" for d_s, d_t in _WIDTHS), "|")
    print("|---" * (1 + len(_WIDTHS)) + "|")
    for length in options.lengths:
        cells = []
        for d_s, d_t in _WIDTHS:
            batch = max(tokens // length, 1)
            literal, gram = measure(batch, length, d_s, d_t, dtype, device, options.repeats)
            taken = " *" if takes_gram_form(length, d_s, d_t) else ""
            cells.append(f"{literal * 1000:.1f} / {gram * 1000:.1f}{taken}")
        print(f"| {length} |", " | ".join(cells), "|", flush=True)


def measure(
    batch: int, length: int, d_s: int, d_t: int, dtype: torch.dtype, device: torch.device, repeats: int
) -> tuple[float, float]:
    """Median seconds of the literal and of the Gram form, the gradient of the student's side included."""

    def vectors(width: int) -> Tensor:
        # BERT's layout: heads are a view of (B, S, H, D).
        return torch.randn(batch, length, _HEADS, width, device=device).to(dtype).transpose(1, 2)

    q_t, k_t = vectors(d_t), vectors(d_t)
    q_s, k_s = vectors(d_s).requires_grad_(), vectors(d_s).requires_grad_()

    def run(form: Form) -> None:
        torch.autograd.grad(form(q_s, k_s, q_t, k_t, None, "reference"), (q_s, k_s))

    forms = {"literal": lambda: run(literal_square_sum), "gram": lambda: run(gram_square_sum)}
    times = interleave(forms, repeats, device)
    return times["literal"].median, times["gram"].median


if __name__ == "__main__":
    main()
