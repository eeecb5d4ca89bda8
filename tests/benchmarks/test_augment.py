"""The benchmark of augmentation: both forms give the same candidates, and its numbers are what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import augment
from tests.helpers.toys import write_student_shape

pytestmark = pytest.mark.slow


def test_it_measures_both_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = write_student_shape(tmp_path / "shape", vocab_size=30522)
    report = tmp_path / "report.json"
    augment.main(["--model", str(shape), "--words", "20", "--repeats", "2", "--json", str(report)])
    results = json.loads(report.read_text())
    median = results["median_seconds"]
    assert results["words"] == 20 and results["same_candidates"] == 1.0
    assert results["speedup_over_literal"] == pytest.approx(median["literal"] / median["batched"])
    printed = capsys.readouterr().out
    assert "| literal |" in printed and "speed-up over literal" in printed


def test_queries_are_sentences_with_one_word_masked() -> None:
    queries = augment.sentences(50, 16, 30522)
    lengths = {len(query.ids) for query in queries}
    assert len(queries) == 50 and min(lengths) >= 8 and max(lengths) <= 24 and len(lengths) > 1
    for query in queries:
        assert (query.ids == 103).sum() == 1 and query.ids[query.mask] == 103 and query.original >= 1000
