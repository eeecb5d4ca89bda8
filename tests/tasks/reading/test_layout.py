"""Files of CLUE's layouts, without a header, and in other encodings; rows without a label."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from megatinybert.config.augment import AugmentOptions
from megatinybert.config.flat import OptionNames
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.layout import Layout, given, layout_of
from megatinybert.tasks.reading.read import Row, open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped


def objects(path: Path, *rows: object, encoding: str = "utf-8") -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding=encoding)


def opened(folder: Path, **layout: object) -> TaskFiles:
    return open_task("custom", str(folder), layout=Layout(**layout))  # type: ignore[arg-type]


def texts(files: TaskFiles, path: Path, **options: bool) -> list[Row]:
    return list(read_rows(files.task, path, **options))  # type: ignore[arg-type]


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def nli(*labels: object) -> list[dict[str, object]]:
    return [{"sentence1": f"甲{number}", "sentence2": "乙", "label": label} for number, label in enumerate(labels)]


@pytest.mark.parametrize("none", ["-", None, "", " "])
def test_a_row_without_a_label_is_told_with_the_count_and_makes_no_class(tmp_path: Path, none: object) -> None:
    objects(tmp_path / "train.json", *nli("neutral", none, "contradiction", none, none))
    objects(tmp_path / "dev.json", *nli("neutral", none))
    objects(tmp_path / "test.json", {"sentence1": "甲", "sentence2": "乙", "id": 0})
    files = opened(tmp_path)
    assert files.task.labels == ("contradiction", "neutral")
    message = refusal(lambda: texts(files, files.train))
    assert message.startswith(f"{tmp_path / 'train.json'}:2: no label")
    assert "3 rows of train.json cannot be used because they have no label" in message
    assert "--task.skip_bad_rows true" in message and "--task.drop_labels -" in message
    assert f"{tmp_path / 'dev.json'}:2: no label" in refusal(lambda: texts(files, files.dev["dev"]))
    skipped, dropped = Skipped(), Counter[str]()
    assert [row.label for row in read_rows(files.task, files.train, skipped)] == [1, 0]
    assert (skipped.count, skipped.unlabelled) == (3, 3)
    files = opened(tmp_path, drop_labels=("-",))
    assert [row.label for row in read_rows(files.task, files.train, None, True, dropped)] == [1, 0]
    assert dropped == {"-" if none == "-" else "": 3}  # as they are written
    assert texts(files, files.test["test"], with_labels=False) == [Row("甲", "乙", None)]


def test_a_missing_key_is_no_label_either(tmp_path: Path) -> None:
    rows = nli("yes", "no", "yes")
    del rows[1]["label"]
    objects(tmp_path / "train.json", *rows, *nli("no"))
    objects(tmp_path / "dev.json", *nli("no"))
    files = opened(tmp_path)
    assert (
        "train.json:2: no label: its keys are sentence1, sentence2, but there is none for the label (label/score/"
        in refusal(lambda: texts(files, files.train))
    )
    files = opened(tmp_path, drop_labels=("-",))
    assert [row.label for row in texts(files, files.train)] == [1, 1, 0]


def test_a_minus_may_be_a_class_by_name(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        objects(tmp_path / f"{name}.json", *nli("+", "-"))
    assert "every row has the label '+'" in refusal(lambda: opened(tmp_path))
    files = open_task("custom", str(tmp_path), labels=["-", "+"])
    assert [row.label for row in texts(files, files.train)] == [1, 0]


def test_a_misspelt_label_is_not_taken_for_rows_without_one(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        objects(tmp_path / f"{name}.json", *({"text": "a", "label_desc": label} for label in ("good", "bad", "-")))
    told = refusal(lambda: opened(tmp_path, label="label_desk", drop_labels=("-",)))
    assert "train.json: no row has a label: no key label_desk (--task.label_column; did you mean label_desc?)" in told
    files = opened(tmp_path, label="label_desc", drop_labels=("-",))
    assert [row.label for row in read_rows(files.task, files.train)] == [1, 0]


def test_other_labels_are_dropped_by_name(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.txt").write_text("a\tx\nb\ty\nc\tunsure\n")
    files, dropped = opened(tmp_path, drop_labels=("unsure", "-")), Counter[str]()
    assert files.task.labels == ("x", "y")
    assert len(list(read_rows(files.task, files.train, dropped=dropped))) == 2 and dropped == {"unsure": 1}


def test_a_list_of_strings_is_a_text(tmp_path: Path) -> None:
    """CSL's keywords."""
    for name in ("train", "dev"):
        objects(tmp_path / f"{name}.json", *({"abst": "文", "keyword": ["甲", "乙"], "label": str(i)} for i in (0, 1)))
    files = opened(tmp_path, text_a="abst", text_b="keyword")
    assert texts(files, files.train)[0] == Row("文", "甲 乙", 0)
    assert "none of its keys (abst, keyword, label) has a usual name" in refusal(lambda: opened(tmp_path))


def test_json_that_is_no_row_a_line_is_named_for_what_it_is(tmp_path: Path) -> None:
    target = {"span1_text": "x", "span1_index": 0, "span2_text": "y", "span2_index": 1}
    objects(tmp_path / "train.json", {"target": target, "idx": 0, "label": "true", "text": "文"})
    array = [{"text": "好", "label": 1}]
    objects(tmp_path / "dev.json", array)
    assert "train.json:1: rows of CLUE's WSC" in refusal(lambda: opened(tmp_path))
    objects(tmp_path / "train.json", *({"text": "a", "label": label} for label in (0, 1)))
    message = refusal(lambda: opened(tmp_path))
    assert f"{tmp_path / 'dev.json'}: a JSON array, but one object per line is needed" in message
    command = message.partition("Convert it: ")[2].replace("python ", f"{sys.executable} ")
    subprocess.run(command, shell=True, check=True, env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})  # as pasted
    files = opened(tmp_path)
    assert texts(files, files.dev["dev"]) == [Row("好", None, 1)]
    assert "好" in (tmp_path / "dev.jsonl").read_text(encoding="utf-8"), "not escaped"
    (tmp_path / "dev.jsonl").rename(tmp_path / "dev.json")
    (tmp_path / "train.json").rename(tmp_path / "train.50k.json")
    assert "If train.50k.json is meant, copy it to train.json" in refusal(lambda: opened(tmp_path))


@pytest.mark.parametrize(("suffix", "mark"), [(".tsv", "\t"), (".csv", ","), (".txt", "\t")])
def test_files_without_a_header(tmp_path: Path, suffix: str, mark: str) -> None:
    def write(name: str, *rows: Sequence[str]) -> None:
        (tmp_path / f"{name}{suffix}").write_text("".join(mark.join(row) + "\n" for row in rows))

    write("train", ("7", "good", "fine"), ("8", "bad", "dull"))
    write("dev", ("id", "label", "text"), ("9", "good", "nice"))
    write("test", ("1", "so so"))
    files = opened(tmp_path, columns=("id", "Label", "text"))
    assert texts(files, files.train) == [Row("fine", None, 1), Row("dull", None, 0)]
    assert texts(files, files.dev["dev"]) == [Row("nice", None, 1)], "a header is seen where there is one"
    assert texts(files, files.test["test"], with_labels=False) == [Row("so so", None, None)]
    if suffix != ".txt":
        assert "name all columns in order with --task.columns" in refusal(lambda: opened(tmp_path))
    write("train", ("good", "fine"), ("bad", "dull"))
    assert "train" in refusal(lambda: opened(tmp_path, columns=("id", "label", "text")))
    assert "2 fields, but --task.columns names 3 (id, label, text)" in refusal(
        lambda: opened(tmp_path, columns=("id", "label", "text"))
    )


def test_columns_of_plain_text_have_no_names(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.txt").write_text("a\tx\nb\ty\n")
    assert "name all of them, in order, with --task.columns" in refusal(lambda: opened(tmp_path, text_a="body"))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-16-le", "big5"])
def test_other_encodings_by_option(tmp_path: Path, encoding: str) -> None:
    text = "好看\u2028一" if encoding != "big5" else "好看"
    for name in ("train", "dev"):
        with (tmp_path / f"{name}.txt").open("w", encoding=encoding, newline="") as file:
            file.write(f"{text}\tgut\r\n不好\tschlecht\r\n")
    files = opened(tmp_path, encoding=encoding)
    assert texts(files, files.train) == [Row(text, None, 0), Row("不好", None, 1)]
    if encoding == "utf-16":  # of which a mark tells
        assert texts(opened(tmp_path), files.train) == texts(files, files.train)
    elif encoding == "utf-16-le":
        assert f"--task.encoding {encoding}" in refusal(lambda: opened(tmp_path))


def test_wrong_encodings_are_told_with_the_line_and_the_likely_one(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"plain\tx\n" + "café crème\ty\ndéjà vu, où\tx\n".encode("cp1252"))
    path.with_name("dev.txt").write_bytes(b"plain\tx\n")
    message = refusal(lambda: opened(tmp_path))
    assert message.startswith(f"{path}:2: not valid UTF-8 (byte 0xe9). These bytes are valid cp1252")
    assert "--task.encoding cp1252" in message and "iconv -f cp1252" in message
    assert [row.text_a for row in texts(opened(tmp_path, encoding="cp1252"), path)][1] == "café crème"
    assert f"{path}:2: not valid gb18030" in refusal(lambda: opened(tmp_path, encoding="gb18030"))
    path.write_text("好" * 100 + "\tx\n", encoding="utf-8")
    message = refusal(lambda: opened(tmp_path, encoding="gb18030"))
    assert "not gb18030 but UTF-8: leave --task.encoding out" in message


def test_options_of_either_program_make_a_layout_and_are_recorded() -> None:
    options = AugmentOptions(
        task="custom", data_dir="d", model="m", output=Path("a.jsonl"), encoding="gbk", drop_labels=["-", "x"]
    )
    layout = layout_of(options, OptionNames())
    assert (layout.encoding, layout.drop_labels, layout.columns) == ("gbk", ("-", "x"), ())
    assert layout.names["drop_labels"] == "--drop-labels"
    assert given(options) == {"encoding": "gbk", "drop_labels": "- x"}
    assert given(options.model_copy(update={"encoding": "utf-8", "drop_labels": None})) == {}


def test_a_label_to_be_dropped_that_no_row_has_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a\tx\nb\ty\nc\tunsure\n")
    (tmp_path / "eval.txt").write_text("a\tx\nb\todd\n")
    assert opened(tmp_path, drop_labels=("odd", "-")).task.labels == ("unsure", "x", "y")  # in one of the files
    told = "no row of train.txt or eval.txt has the label 'unsur'; those that are not left out are x, y, unsure"
    assert refusal(lambda: opened(tmp_path, drop_labels=("odd", "unsur"))) == (
        f"--task.drop_labels odd unsur: {told} (did you mean unsure?). Correct it, or leave it out"
    )
