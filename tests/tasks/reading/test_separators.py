"""A .csv of other marks than commas: one message, with a command that mends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import open_task, read_rows
from tests.tasks.reading.test_wrong_files import wrong

ROWS = (("text", "label"), ("fine, really", "good"), ("dull", "bad"))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_the_command_converts_both_files_and_keeps_the_originals(
    tmp_path: Path, mark: str, encoding: str, quote: str
) -> None:
    said = encoding.removesuffix("-sig")
    folder = tmp_path / "my data"
    folder.mkdir()
    for name in ("train", "eval"):
        lines = (mark.join(f"{quote}{field}{quote}" for field in row) for row in ROWS)
        (folder / f"{name}.csv").write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
    before = (folder / "train.csv").read_bytes()
    told = wrong(folder, encoding=said)
    assert len(told) == 2
    for line in told:
        assert line.count("seem to be separated by") == 1 and "_column" not in line
        command = line.partition("the original kept as ")[2].partition(": ")[2]
        subprocess.run(command.replace("python ", f"{sys.executable} ", 1), shell=True, check=True)
    assert wrong(folder, encoding=said) == []
    files = open_task("custom", str(folder), layout=Layout(encoding=said))
    assert [row.text_a for row in read_rows(files.task, files.train)] == ["fine, really", "dull"]
    assert (folder / "train.csv.original").read_bytes() == before
    assert not list(folder.glob("*.commas"))


def test_options_that_cannot_help_are_not_named(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text("Message;Category\na;x\nb;y\n")
    told = wrong(tmp_path, text_a_column="Message", label_column="Category")
    assert len(told) == 2 and all(".csv: its columns seem to be separated by ';', but" in each for each in told)
    told = wrong(tmp_path, columns=["text", "label"])
    assert len(told) == 2 and all(". Its columns seem to be separated by ';', but" in each for each in told)


def test_commas_are_not_asked_about(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text("body; more,stars\na,x\n")
    assert not any("separated by" in each for each in wrong(tmp_path))
