"""Which columns hold texts and label: by options, by usual names, and never by a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.tasks.columns import usual_columns
from megatinybert.tasks.layout import Layout
from megatinybert.tasks.read import Row, open_task, read_rows


def found(names: str, layout: Layout | None = None) -> tuple[str, ...] | None:
    columns = usual_columns(names.split(), True, layout or Layout(), "train.csv")
    return None if columns is None else (*columns.text_a, *columns.text_b, columns.label[0])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("sentence1 sentence2 label", ("sentence1", "sentence2", "label")),  # AFQMC, CMNLI
        ("level sentence1 sentence2 label label0 genre prem_id id", ("sentence1", "sentence2", "label")),  # OCNLI
        ("label label_desc sentence keywords", ("sentence", "label")),  # TNEWS
        ("label label_des sentence", ("sentence", "label")),  # IFLYTEK
        ("query title label", ("query", "title", "label")),
        ("premise hypothesis gold_label", ("premise", "hypothesis", "gold_label")),
        ("index question sentence label", ("question", "sentence", "label")),
        ("text1 text2 score", ("text1", "text2", "score")),
        ("label review", ("review", "label")),
        ("content label", ("content", "label")),
        ("text title label", ("text", "label")),  # which says that it is the text
        ("id abst keyword label", None),
    ],
)
def test_usual_names(names: str, expected: tuple[str, ...] | None) -> None:
    assert found(names) == expected


@pytest.mark.parametrize(
    ("names", "several"),
    [
        ("title content label", "title and content may be texts"),
        ("query title content label", "query and title and content may be texts"),
        ("text sentence label", "text and sentence may be texts"),
        ("text sentence1 sentence2 label", "may be texts: say which one is, by --task.text_a_column NAME, and for pa"),
        ("text label score", "label and score may be the label: say which one it is, as by --task.label_column label"),
    ],
)
def test_several_that_would_do_are_refused_with_the_option(names: str, several: str) -> None:
    with pytest.raises(ValueError, match=f"train.csv: .*{several}"):
        found(names)


def test_options_name_the_columns() -> None:
    assert found("title content mark", Layout(text_a="content", label="mark")) == ("content", "mark")
    assert found("title content label", Layout(text_a="content", text_b="title")) == ("content", "title", "label")
    assert found("label score text", Layout(label="score")) == ("text", "score")


def test_named_columns_are_the_only_ones(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"Body": "a", "text": "no", "label": "x"}\n{"Body": "b", "label": "y"}\n')
    (tmp_path / "dev.csv").write_text("body,label\nc,x\n")
    files = open_task("custom", str(tmp_path), layout=Layout(text_a="Body"))
    assert [row.text_a for row in read_rows(files.task, files.train)] == ["a", "b"]
    assert list(read_rows(files.task, files.dev["dev"])) == [Row("c", None, 0)]
    (tmp_path / "dev.csv").write_text("text,label\nc,x\n")
    with pytest.raises(ValueError, match=r"dev.csv: its header has the columns text, label; custom needs Body, label"):
        open_task("custom", str(tmp_path), layout=Layout(text_a="Body"))


def test_files_of_one_task_may_name_their_columns_differently(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"query": "a", "title": "b", "label": "x"}\n' * 2 + '{"label": "y"}\n')
    (tmp_path / "dev.csv").write_text("sentence1,sentence2,label\nc,d,x\n")
    files = open_task("custom", str(tmp_path), labels=["x", "y"])
    assert files.task.pair
    assert list(read_rows(files.task, files.dev["dev"])) == [Row("c", "d", 0)]
    with pytest.raises(ValueError, match=r"train.json:3: custom needs query, title, label, or text_a/"):
        list(read_rows(files.task, files.train))
