"""How much the probes vary with the number of held-out windows that they are measured on.

    python benchmarks/probe.py --student RUN/student --teacher T --shards S [--windows 8 16 32 64 128] [--draws 300]

Windows are drawn from the validation split of S without putting back, as often as --draws says, so of numbers near all
that there are the spread is shown too small. `order` is the share of the draws in which the two probes are in the other
order than on all windows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import environment
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.models.load import load_encoder
from megatinybert.programs.distil import silence_transformers
from megatinybert.runtime.text_table import format_table
from megatinybert.samples.windows import TokenStream, Windows
from megatinybert.training.held_out import mean_pool, probe
from megatinybert.training.sentence_vectors import read_projection

_LENGTH, _MICRO_BATCH = 128, 16


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how much the probes vary with the windows.")
    parser.add_argument("--student", required=True, metavar="FOLDER", help="student/ of a run, with its projection")
    parser.add_argument("--teacher", required=True, metavar="FOLDER", help="folder or hub name")
    parser.add_argument("--shards", required=True, metavar="FOLDER", help="with a validation split")
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16, 32, 64, 128], help="(default: 8 ... 128)")
    parser.add_argument("--draws", type=int, default=300, help="of each number of windows (default: 300)")
    return parser.parse_args(arguments)


def vectors(options: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Of all windows: the student's (N, D), the same through the projection (N, E), the teacher's (N, E); float64."""
    projection = read_projection(Path(options.student))
    if projection is None:
        raise ValueError(f"--student {options.student} has no projection: take student/ of a general run")
    stream = TokenStream(open_corpus(options.shards, "validation").shards)
    special = special_ids(load_tokenizer(options.teacher))
    windows = Windows(stream, _LENGTH, special, special.vocab_size, 0.0, seed=0)
    student_ND, teacher_NE = (_means(name, windows) for name in (options.student, options.teacher))
    return student_ND.double(), projection(student_ND).double(), teacher_NE.double()


@torch.inference_mode()
def _means(name: str, windows: Windows) -> Tensor:
    encoder, means = load_encoder(name, name).eval(), []
    for ids in np.array_split(np.arange(windows.windows), range(_MICRO_BATCH, windows.windows, _MICRO_BATCH)):
        batch = {key: torch.from_numpy(array) for key, array in windows.batch_of(ids, np.zeros_like(ids)).items()}
        means.append(mean_pool(encoder(**batch).last_hidden_state, None))
    return torch.cat(means)


def spreads(
    student_ND: Tensor, projected_NE: Tensor, teacher_NE: Tensor, counts: Sequence[int], draws: int
) -> dict[int, tuple[float, float, float, float]]:
    """By number of windows: standard deviations of probe, of that through the projection, and of their difference; and
    the share of the draws in which they are in the other order than on all.
    """
    order = probe(projected_NE, teacher_NE) > probe(student_ND, teacher_NE)
    random, found = np.random.default_rng(0), {}
    for count in counts:
        chosen = [random.choice(len(teacher_NE), count, replace=False) for _ in range(draws)]
        own = np.array([probe(student_ND[ids], teacher_NE[ids]) for ids in chosen])
        projected = np.array([probe(projected_NE[ids], teacher_NE[ids]) for ids in chosen])
        other = float(np.mean((projected > own) != order))
        found[count] = float(own.std()), float(projected.std()), float((projected - own).std()), other
    return found


def main() -> int:
    options = parse()
    silence_transformers()
    student_ND, projected_NE, teacher_NE = vectors(options)
    about = environment(torch.device("cpu"), ("numpy", "torch", "transformers"))
    print(*(f"- {name}: {value}" for name, value in about.items()), "", sep="\n")
    both = (
        f"{probe(student_ND, teacher_NE):.3f} without and {probe(projected_NE, teacher_NE):.3f} through the projection"
    )
    print(f"probe on all {len(teacher_NE):,} windows: {both}\n\nstandard deviations:\n")
    found = spreads(student_ND, projected_NE, teacher_NE, options.windows, options.draws)
    rows = [("windows", "probe", "through projection", "difference", "other order")]
    rows += [(str(count), *(f"{each:.3f}" for each in values)) for count, values in found.items()]
    print(format_table(rows, right_aligned=range(5)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
