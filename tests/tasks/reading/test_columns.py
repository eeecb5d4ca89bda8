"""Which columns hold texts and label: by options, by usual names, and never by a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatinybert.tasks.reading.columns import usual_columns
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import Row, open_task, read_rows
from tests.tasks.reading.test_wrong_files import wrong


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
        ("编号 文本 标签", ("文本", "标签")),
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
        ("title content label", "title and content could be texts"),
        ("query title content label", "query and title and content could be texts"),
        ("text sentence label", "text and sentence could be texts"),
        (
            "text sentence1 sentence2 label",
            "could be texts: say which one is with --task.text_a_column NAME, and for pairs",
        ),
        (
            "text label score",
            "label and score could be the label: say which one is, for example with --task.label_column l",
        ),
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
    with pytest.raises(
        ValueError, match=r"dev.csv: its header has no column Body \(--task.text_a_column\); it has text, label"
    ):
        open_task("custom", str(tmp_path), layout=Layout(text_a="Body"))


def test_files_of_one_task_may_name_their_columns_differently(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"query": "a", "title": "b", "label": "x"}\n' * 2 + '{"label": "y"}\n')
    (tmp_path / "dev.csv").write_text("sentence1,sentence2,label\nc,d,x\n")
    files = open_task("custom", str(tmp_path), labels=["x", "y"])
    assert files.task.pair
    assert list(read_rows(files.task, files.dev["dev"])) == [Row("c", "d", 0)]
    with pytest.raises(
        ValueError, match=r"train.json:3: its keys are label; a custom task needs query with title or text_a/"
    ):
        list(read_rows(files.task, files.train))


@pytest.mark.parametrize(
    ("header", "options", "told"),
    [
        (
            "编号,段落,结论",
            {},
            "question1, question2, text1, text2), or for a label (label, score, gold_label, 标签, 类别): name the text "
            "with --task.text_a_column, in pairs the second one with "
            "--task.text_b_column, and the label with --task.label_column. If the",
        ),
        (
            "编号,段落,结论",
            {"label": "结"},
            "--task.text_b_column. It has no column 结 (--task.label_column; did you mean 结论?). If the first",
        ),
        (
            "编号,段落,结论",
            {"text_a": "段落", "label": "结"},
            "its header has no column 结 (--task.label_column; did you mean 结论?); it has 编号, 段落, 结论. If",
        ),
        (
            "编号,段落,结论",
            {"text_a": "段", "text_b": "编", "label": "结"},
            "its header has no column 段 (--task.text_a_column; did you mean 段落?) and no column 编 "
            "(--task.text_b_column; did you mean 编号?) and no column 结 (--task.label_column; did you mean 结论?); it",
        ),
        (
            "编号,段落,结论",
            {"text_a": "正文"},
            "its header has no column 正文 (--task.text_a_column) and no column called "
            "label/score/gold_label/标签/类别 (--task.label_column names another); it",
        ),
        (
            "编号,段落,结论",
            {"text_a": "段落"},
            "its header has the columns 编号, 段落, 结论, of which none is a label (label/score/gold_label/标签/类别): "
            "name it with --task.label_column, which is for all files, or rename it in this one",
        ),
        (
            "评论\uff0c类别",
            {"text_a": "评论", "label": "类别"},
            "train.csv: its columns seem to be separated by '\uff0c' (a full-width comma), but those of a .csv have",
        ),
        ("评论\uff0c类别", {}, "dev.csv): its columns seem to be separated by '\uff0c' (a full-width comma), but"),
        ("text;label", {}, ": its columns seem to be separated by ';', but those"),
        (
            "a,x",
            {"text_a": "text", "label": "label", "columns": ("text", "labels")},
            "--task.columns text labels has no column label (--task.label_column; did you mean labels?)",
        ),
    ],
)
def test_all_missing_columns_are_told_at_once(tmp_path: Path, header: str, options: dict[str, Any], told: str) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text(f"{header}\n1,a,x\n2,b,y\n", encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        open_task("custom", str(tmp_path), layout=Layout(**options))
    assert told in str(caught.value)


def listed(message: str) -> list[list[list[str]]]:
    """The alternatives, each with the names of its texts."""
    told = message.partition("a custom task needs ")[2].partition(" (rename")[0]
    return [[names.split("/") for names in each.split(" with ")] for each in told.split(" or ")]


@pytest.mark.parametrize(
    ("columns", "alternatives"),
    [(("text",), 1), (("content",), 1), (("query", "title"), 6), (("sentence1", "sentence2"), 6)],
)
def test_all_usual_names_are_listed_once_to_who_answers_a_file_of_other_names(
    tmp_path: Path, columns: tuple[str, ...], alternatives: int
) -> None:
    """And each of them is accepted."""
    row = ",".join("ab"[: len(columns)])
    for name in ("train", "eval"):
        (tmp_path / f"{name}.csv").write_text(f"{','.join(columns)},label\n{row},x\n{row},y\n")
    task, new = open_task("custom", str(tmp_path)).task, tmp_path / "new.csv"
    new.write_text("译文,归类\n好,x\n", encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        list(read_rows(task, new, with_labels=False))
    texts = listed(str(caught.value))
    assert len(texts) == alternatives and all(len(set(names)) == len(names) for each in texts for names in each)
    assert [column in names for column, names in zip(columns, texts[0], strict=True)] == [True] * len(columns)
    assert len(columns) > 1 or {"content", "review", "text"} <= set(texts[0][0])
    for each in texts:
        for name in each[0]:
            found = [name, *(names[0] for names in each[1:])]
            new.write_text(f"{','.join(found)},归类\n{row},x\n", encoding="utf-8")
            assert len(list(read_rows(task, new, with_labels=False))) == 1, found


def test_keys_that_are_not_there_are_told_as_columns_are(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a", "labels": "x"}\n{"text": "b", "labels": "y"}\n')
    told = r"train.jsonl:1: no label: no key labl \(--task.label_column; did you mean labels\?\): "
    with pytest.raises(ValueError, match=told):
        open_task("custom", str(tmp_path), layout=Layout(label="labl"))


def test_no_name_of_a_label_is_told_that_is_not_taken(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("body\tscore\na\t1\nb\t0\n")
    (told,) = wrong(tmp_path, "sst-2", text_a_column="body")
    assert "the columns body, score, of which none is a label (label): name it with" in told
    assert wrong(tmp_path, "sst-2", text_a_column="body", label_column="score") == []


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_only_what_is_missing_is_named(tmp_path: Path, suffix: str) -> None:
    """Of a pair whose label is missing no names of texts, of a text that is missing none of labels."""
    parted = {"tsv": "\t", "csv": ","}[suffix]

    def write(name: str, header: str) -> Path:
        path = tmp_path / f"{name}.{suffix}"
        rows = (header, "one a b", "two a b", "three c d")
        path.write_text("".join(parted.join(row.split()[: len(header.split())]) + "\n" for row in rows))
        return path

    train, dev = write("train", "text_a text_b stance"), write("eval", "text_a text_b stance")
    with pytest.raises(ValueError) as caught:
        open_task("custom", str(tmp_path))
    assert str(caught.value) == (
        f"{train}: its header has the columns text_a, text_b, stance, of which none is a label "
        "(label/score/gold_label/标签/类别): name it with --task.label_column, which is for all files, or rename it in "
        "this one"
    )
    assert open_task("custom", str(tmp_path), layout=Layout(label="stance")).task.labels == ("b", "d")
    write("train", "text label")
    write("eval", "body label")
    with pytest.raises(ValueError) as caught:
        open_task("custom", str(tmp_path))
    assert str(caught.value).startswith(f"{dev}: its header has the columns body, label; a custom task needs text/")
    assert "/句子 (name others with --task.text_a_column)" in str(caught.value)
