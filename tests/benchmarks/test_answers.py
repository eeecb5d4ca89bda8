"""The cost of answers that no batch changes is told by a run of the product's own passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import answers
from tests.helpers.encoded_rows import encoded_rows


def test_answers_of_a_task(task_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"teacher": task_inputs / "teacher", "task": "sst-2", "data": task_inputs / "SST-2"}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    answers.main([*options, "--rows", "20", "--batch", "8", "--repeats", "1"])
    said = capsys.readouterr().out
    assert '"rows": 20' in said
    ours = [line.split() for line in said.splitlines() if "Answering" in line]
    assert ours and all(line[-4:-1] == ["0", "of", "20"] for line in ours)


def test_tokens_of_passes_over_those_of_batches() -> None:
    rows = encoded_rows([5, 9, 16])
    batches = [np.array([0, 1]), np.array([2])]  # of 2 x 9 and 16 tokens; passes of 4 x 8, 4 x 16 and 4 x 16
    assert answers.filled(rows, lambda: iter(batches), of_pass=4) == pytest.approx((32 + 64 + 64) / (18 + 16))
