"""Rows of other fields than the columns that an option names."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.task import TaskDataConfig
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.wrong_files import wrong_files

COLUMNS = ("id", "text", "label")


@pytest.fixture
def files(tmp_path: Path) -> TaskFiles:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text("1,fine,good\n2,dull,bad\n")
    return open_task("custom", str(tmp_path), layout=Layout(columns=COLUMNS))


@pytest.mark.parametrize(("name", "first"), [("new.csv", "Message"), ("new.txt", "a film")])
def test_a_file_to_answer_of_other_columns_than_the_option_names(
    tmp_path: Path, files: TaskFiles, name: str, first: str
) -> None:
    path = tmp_path / name
    path.write_text(f"{first}\nanother\n")
    (told,) = wrong_files(TaskDataConfig(name="custom", data_dir=str(tmp_path), columns=list(COLUMNS)), True, path)
    assert f"{path}:1: 1 field, but --task.columns names 3 (id, text, label). A file to predict needs" in told
    assert told.count("A file to predict") == 1 and "the file has" not in told


@pytest.mark.parametrize("header", ["text,label", "label,text"])
def test_a_comma_in_a_text_of_a_csv_is_told(tmp_path: Path, header: str) -> None:
    fine, dull = (",".join(row) if header == "text,label" else ",".join(row[::-1]) for row in (("a", "x"), ("b", "y")))
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n{fine}\n{dull}\n")
    (tmp_path / "eval.csv").write_text(f"{header}\n{fine}, too\n{dull}\n")
    files = open_task("custom", str(tmp_path))
    with pytest.raises(ValueError) as caught:
        list(read_rows(files.task, files.dev["dev"]))
    told = "3 fields, but the file has 2 columns (a field that holds a comma has to be enclosed in quotation marks): "
    assert str(caught.value).startswith(f"{tmp_path / 'eval.csv'}:2: {told}")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "1,so so,good\n"), ("a.csv", "1,so so\n"), ("a.csv", "text\nso so\n"), ("a.txt", "text\nso so\n")],
)
def test_what_helps_does(tmp_path: Path, files: TaskFiles, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert [row.text_a for row in read_rows(files.task, tmp_path / name, with_labels=False)] == ["so so"]


def test_empty_texts_are_called_as_the_file_calls_them(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n')
    (tmp_path / "some.jsonl").write_text('{"text": " ", "label": "x"}\n')
    (tmp_path / "some.csv").write_text("id,text\n1,\n")
    (tmp_path / "some.txt").write_text(" \tx\n")
    task = open_task("custom", str(tmp_path)).task
    expected = (("some.jsonl", 1, "key 'text'"), ("some.csv", 2, "column 'text'"), ("some.txt", 1, "field 1"))
    for name, line, called in expected:
        with pytest.raises(ValueError) as caught:
            list(read_rows(task, tmp_path / name, with_labels=False))
        assert str(caught.value).startswith(f"{tmp_path / name}:{line}: an empty text ({called})")
