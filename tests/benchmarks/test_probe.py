"""The spread of the probes falls with the number of windows, and vectors that are the teacher's have none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import probe
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from tests.helpers.toys import WORDS


def test_more_windows_make_less_spread() -> None:
    teacher_NE = torch.randn(200, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student_ND = teacher_NE[:, :6]
    found = probe.spreads(student_ND, teacher_NE, teacher_NE, [8, 64], 50)
    assert found[8][0] > 2 * found[64][0] > 0  # as 1 over the root of the number, or faster
    for own, projected, difference, other in found.values():
        assert projected == pytest.approx(0, abs=1e-12) and difference == pytest.approx(own) and other == 0


def test_the_vectors_of_a_run(
    golden_run: Path, toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_LENGTH", 16)
    documents = (" ".join(WORDS[(7 * d + i * i) % len(WORDS)] for i in range(40)) for d in range(100))
    (tmp_path / "text.txt").write_text("\n\n".join(documents) + "\n")
    teacher, shards = str(toy_inputs / "teacher"), str(tmp_path / "shards")
    build_corpus(
        BuildOptions(
            input=[str(tmp_path / "text.txt")], tokenizer=teacher, output=shards, validation_fraction=0.2, workers=1
        )
    )
    given = ["--teacher", teacher, "--shards", shards, "--student"]
    student_ND, projected_NE, teacher_NE = probe.vectors(probe.parse([*given, str(golden_run / "student")]))
    assert len(student_ND) == len(projected_NE) == len(teacher_NE) > 20
    assert (student_ND.shape[1], projected_NE.shape[1], teacher_NE.shape[1]) == (12, 24, 24)
    with pytest.raises(ValueError, match="has no projection"):
        probe.vectors(probe.parse([*given, teacher]))
