"""Headers in files that are read as having none."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.schema import ConfigError
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import open_task
from tests.tasks.reading.test_misspelt import full_width
from tests.tasks.reading.test_wrong_files import wrong

ROWS = "".join(f"text {number}\t{'good' if number % 3 else 'bad'}\n" for number in range(30))


def write(folder: Path, header: str, suffix: str = ".tsv", rows: str = ROWS) -> list[Path]:
    mark = "," if suffix == ".csv" else "\t"
    paths = [folder / f"{name}{suffix}" for name in ("train", "eval")]
    for path in paths:
        path.write_text(f"{header}\n{rows}".replace("\t", mark), encoding="utf-8")
    return paths


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".txt"])
@pytest.mark.parametrize(
    "header", ["sentense\tlable", "comment\tclass", f"{full_width('text')}\t{full_width('label')}"]
)
def test_a_header_that_an_option_would_make_a_row_is_refused(tmp_path: Path, header: str, suffix: str) -> None:
    paths = write(tmp_path, header, suffix)
    told = wrong(tmp_path, columns=["text", "label"])
    with pytest.raises(ConfigError) as caught:  # the run says the same
        open_task("custom", str(tmp_path), layout=Layout(columns=("text", "label")))
    assert told == caught.value.problems
    names, (problem,) = header.replace("\t", ", "), told
    places = f"{paths[0]}:1 (likewise {paths[1]}:1)"
    assert problem.startswith(f"{places}: a header ({names}) without the names of --task.columns (text, label)")
    assert ("--task.columns null" in problem) == (suffix != ".txt")
    for path in paths:  # what helps
        path.write_text(path.read_text("utf-8").replace(*_first_line(path, "text", "label")), "utf-8")
    assert wrong(tmp_path, columns=["text", "label"]) == []


def _first_line(path: Path, *names: str) -> tuple[str, str]:
    return path.read_text("utf-8").splitlines()[0], ("," if path.suffix == ".csv" else "\t").join(names)


@pytest.mark.parametrize("task", ["custom", "sst-2"])
def test_the_options_that_are_told_read_the_files(tmp_path: Path, task: str) -> None:
    rows = ROWS.replace("good", "1").replace("bad", "0")
    for path in write(tmp_path, "sentense\tlable", rows=rows):
        path.rename(path.with_name(path.name.replace("eval", "dev")))
    (told,) = wrong(tmp_path, task, columns=["sentence", "label"])
    words = shlex.split(told.partition(" every file has it, use ")[2])
    given: dict[str, Any] = {words[i].removeprefix("--task."): words[i + 1] for i in range(0, len(words), 2)}
    assert given.pop("columns") == "null" and len(given) == 2
    assert wrong(tmp_path, task, **given) == []


def test_the_first_line_of_a_txt(tmp_path: Path) -> None:
    paths = write(tmp_path, "text\tlabel", ".txt")
    told = wrong(tmp_path)
    assert [text.partition(":1: ")[0] for text in told] == list(map(str, paths))
    assert told[0].endswith("every line of a .txt is read as a row: remove it, or rename the file to train.tsv")
    for path in paths:
        path.rename(path.with_suffix(".tsv"))
    assert wrong(tmp_path) == []


def test_scores_have_headers_too(tmp_path: Path) -> None:
    rows = "".join(f"text {number}\t{number / 7:.2f}\n" for number in range(9))
    write(tmp_path, "sentense\tscroe", rows=rows)
    assert all("a header (sentense, scroe)" in text for text in wrong(tmp_path, columns=["sentence", "score"]))


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("text\tlabel", "a\tlabel\nb\tgood\n"),  # a class of that name
        ("text 0\tlabel", "a\tgood\nb\tbad\n"),
        ("sentence\tgood", "a\tgood\nb\tbad\n"),
    ],
)
def test_what_may_be_a_row_is_left_to_the_warnings(tmp_path: Path, header: str, rows: str) -> None:
    write(tmp_path, header, ".txt", rows)
    assert wrong(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "refused"),
    [("idx,sentense\n1,a\n", True), ("id,text\n1,a\n", False), ("1,sentense\n2,a\n", False), ("1,a\n2,b\n", False)],
)
def test_files_to_be_answered(tmp_path: Path, content: str, refused: bool) -> None:
    write(tmp_path, "0\ta text\tgood", ".csv", "".join(f"{line}\n" for line in ("1\tx\tgood", "2\ty\tbad")))
    path = tmp_path / "new.csv"
    path.write_text(content)
    told = wrong(tmp_path, answers=True, answered=path, columns=["idx", "sentence", "label"])
    assert [text.partition(" without")[0] for text in told] == [f"{path}:1: a header (sentense)"] * refused
