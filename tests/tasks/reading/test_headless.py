"""Tables whose first line is a row."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from megatinybert.tasks.reading.headless import first_row
from megatinybert.tasks.reading.layout import Layout
from tests.tasks.reading.test_wrong_files import wrong

ROWS = [("合肥的出租车\uff0c态度很差", "好评"), ("有点晕了", "差评"), ("逃家小兔", "好评"), ("还不错", "差评")]


def write(folder: Path, suffix: str, rows: list[tuple[str, ...]]) -> list[Path]:
    mark = "," if suffix == ".csv" else "\t"
    paths = [folder / f"{name}{suffix}" for name in ("train", "dev")]
    for path in paths:
        path.write_text("".join(f"{mark.join(row)}\n" for row in rows), encoding="utf-8")
    return paths


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("given", [{}, {"text_a_column": "评论", "label_column": "标签"}, {"text_a_column": "评语"}])
def test_a_value_that_comes_again_is_no_name(tmp_path: Path, suffix: str, turned: bool, given: dict[str, Any]) -> None:
    train, dev = write(tmp_path, suffix, [row[::-1] if turned else row for row in ROWS])
    (told,) = wrong(tmp_path, **given)
    assert told.startswith(f"{train} (likewise {dev}): its first line seems to be a row, and no header: ")
    assert "another line has '好评' in the same column" in told and "separated" not in told
    words = shlex.split(told.partition("Name its columns: ")[2])
    assert words[0] == "--task.columns" and wrong(tmp_path, columns=words[1:], **given) == []  # what it says helps


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
@pytest.mark.parametrize("given", [{}, {"text_a_column": "评论", "label_column": "标签"}, {"label_column": "标签"}])
def test_marks_in_the_fields_of_a_parted_line_are_of_its_text(
    tmp_path: Path, suffix: str, given: dict[str, Any]
) -> None:
    write(tmp_path, suffix, [(text, str(number)) for number, (text, _) in enumerate(ROWS)])
    for text in wrong(tmp_path, **given):
        assert "separated by" not in text
        assert text.endswith("If the first line is no header, name all columns in order with --task.columns")


def test_the_task_that_has_no_header_is_told_before_that_there_is_none(tmp_path: Path) -> None:
    write(tmp_path, ".tsv", [("gj04", "1", "", "a film"), ("gj04", "0", "*", "one film"), ("x", "1", "", "it")])
    for told in wrong(tmp_path, "sst-2"):
        assert told.endswith("These columns are those of cola: did you mean --task.name cola?")
    write(tmp_path, ".tsv", ROWS[:3])
    (told,) = wrong(tmp_path, "sst-2")
    assert "seems to be a row" in told


def test_more_columns_have_no_example() -> None:
    rows = [("1", *ROWS[0]), ("2", *ROWS[1]), ("3", *ROWS[2])]
    assert first_row(iter(rows), Layout()).endswith("Name all columns in order with --task.columns")
    both = [("a", "x"), ("a", "y"), ("b", "x")]
    told = first_row(iter(both), Layout())
    assert "another line has 'x'" in told and told.endswith("Name all columns in order with --task.columns")
    assert "2 other lines have 'x'" in first_row(iter([*both, ("c", "x")]), Layout())


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("a", "x")],
        [("body", "kind"), ("a", "x"), ("body", "kind"), ("b", "x")],  # files that were put together
        [("", "body", "kind"), ("", "a", "x"), ("", "b", "x")],
        [("body", "kind"), ("a", "b", "kind")],
    ],
)
def test_what_may_be_a_header(rows: list[tuple[str, ...]]) -> None:
    assert first_row(iter(rows), Layout()) == ""
