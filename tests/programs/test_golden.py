"""The losses of a fixed toy run do not change unseen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripts.golden import RECORD, STEPS, losses


def test_losses_are_those_on_record(golden_run: Path) -> None:
    expected = json.loads(RECORD.read_text(encoding="utf-8"))
    found = losses(golden_run)
    assert [row["step"] for row in expected] == list(range(STEPS + 1))
    assert [row.keys() for row in found] == [row.keys() for row in expected]
    for row, record in zip(found, expected, strict=True):
        assert row == pytest.approx(record, rel=1e-4), (
            f"step {record['step']} differs; if it should, run: python -m tests.scripts.golden"
        )


def test_the_toy_learns(golden_run: Path) -> None:
    rows = losses(golden_run)
    for tag in ("total", "attention", "hidden", "embedding"):
        assert rows[-1][f"held_out/{tag}"] < rows[0][f"held_out/{tag}"], tag
