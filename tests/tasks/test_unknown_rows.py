"""Rows of another language than the tokenizer's are told early, by a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK
from megatinybert.tasks.rows_now import RowsNow
from megatinybert.tasks.unknown_rows import unknown_rows

KNOWN, UNKNOWN = "w1 w2\tgood\n", "\u6587 \u672c\tbad\n"


@pytest.fixture
def task(tmp_path: Path, toy_inputs: Path) -> list[str]:
    """Options of a task whose first 400 of 1,000 development rows the teacher's tokenizer does not know."""
    (tmp_path / "train.txt").write_text(20 * (KNOWN + UNKNOWN), encoding="utf-8")
    (tmp_path / "eval.txt").write_text(400 * UNKNOWN + 600 * KNOWN, encoding="utf-8")
    given = {"task.name": "custom", "task.data_dir": tmp_path, "teacher.model": toy_inputs / "teacher"}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))] + [
        "--student.config",
        "3L-312",
    ]


def told(task: list[str], *more: str) -> list[str]:
    return unknown_rows(RowsNow(load_options([*task, *more], TASK)))


def test_rows_that_are_mostly_unknown_are_told_unless_the_run_goes_on_anyway(task: list[str], tmp_path: Path) -> None:
    assert told(task) == []
    path = tmp_path / "eval.txt"
    path.write_text(400 * KNOWN + 600 * UNKNOWN, encoding="utf-8")
    (text,) = told(task)
    assert text.startswith(f"dev ({path}): in a sample 60.0 % of the tokens are [UNK], of which nothing can be learnt")
    assert text.endswith("; --task.force true continues anyway")
    assert told(task, "--task.force", "true") == []


def test_nothing_is_said_where_it_takes_long_or_files_cannot_be_read(
    task: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "eval.txt"
    path.write_text(300 * UNKNOWN, encoding="utf-8")
    assert told(task) != []
    monkeypatch.setattr("megatinybert.tasks.rows_now.READ_WHOLE", 100)
    assert told(task) == []
    monkeypatch.undo()
    path.write_text("no label\n", encoding="utf-8")
    assert told(task) == []
