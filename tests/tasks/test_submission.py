"""Submissions: files as GLUE's server takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatinybert.tasks.submission import write_submission
from megatinybert.tasks.table import TASKS


@pytest.mark.parametrize(
    ("task", "split", "predictions", "name", "written"),
    [
        ("cola", "test", [1, 0], "CoLA.tsv", ["1", "0"]),
        ("sst-2", "test", [0, 1], "SST-2.tsv", ["0", "1"]),
        ("mrpc", "test", [1, 1], "MRPC.tsv", ["1", "1"]),
        ("qqp", "test", [1, 0], "QQP.tsv", ["1", "0"]),
        ("mnli", "test_matched", [0, 1, 2], "MNLI-m.tsv", ["contradiction", "entailment", "neutral"]),
        ("mnli", "test_mismatched", [2], "MNLI-mm.tsv", ["neutral"]),
        ("mnli", "diagnostic", [1], "AX.tsv", ["entailment"]),
        ("qnli", "test", [0, 1], "QNLI.tsv", ["entailment", "not_entailment"]),
        ("rte", "test", [1, 0], "RTE.tsv", ["not_entailment", "entailment"]),
        ("wnli", "test", [1, 0], "WNLI.tsv", ["1", "0"]),
        ("sts-b", "test", [4.98765, -0.1, 5.2], "STS-B.tsv", ["4.988", "0.000", "5.000"]),
    ],
)
def test_files(task: str, split: str, predictions: list[float], name: str, written: list[str], tmp_path: Path) -> None:
    path = write_submission(TASKS[task], split, np.array(predictions), tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / name
    lines = [f"{index}\t{text}" for index, text in enumerate(written)]
    assert path.read_bytes().decode() == "\n".join(["index\tprediction", *lines, ""])
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_every_test_file_of_glue_has_a_submission() -> None:
    assert all(set(task.submission) == set(task.test) for task in TASKS.values() if task.name != "custom")


def test_what_cannot_be_submitted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="custom: no submission format for the split test; only GLUE's tasks have one"):
        write_submission(TASKS["custom"], "test", np.array([0]), tmp_path)
    with pytest.raises(ValueError, match="split dev; it has test"):
        write_submission(TASKS["rte"], "dev", np.array([0]), tmp_path)
    with pytest.raises(ValueError, match="the score of row 1 is nan"):
        write_submission(TASKS["sts-b"], "test", np.array([1.0, np.nan]), tmp_path)
    assert not list(tmp_path.iterdir())
