"""Hints where a table's columns are parted by what parts none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatinybert.tasks.reading.columns import LABELS, TEXTS
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.parting import parted_otherwise
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.wrong_columns import no_text, wrong_table
from megatinybert.tasks.table import TASKS
from tests.tasks.reading.test_misspelt import full_width

COMMA, SPACE = "\uff0c", "\u3000"


def refusal(folder: Path, suffix: str, train: str, layout: Layout | None = None) -> str:
    right = "a\tx\n" if suffix == ".txt" else "text\tlabel\na\tx\n".replace("\t", _mark(suffix))
    for name, content in (("train", train), ("eval", right)):
        (folder / f"{name}{suffix}").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        files = open_task("custom", str(folder), layout=layout)
        list(read_rows(files.task, files.train))
    return str(caught.value)


def _mark(suffix: str) -> str:
    return "," if suffix == ".csv" else "\t"


@pytest.mark.parametrize("row", [f'"好{COMMA}看"{COMMA}x', f"好看{COMMA}x", f'"two\nlines"{COMMA}x'])
def test_the_comma_of_chinese_after_a_field_of_a_csv(tmp_path: Path, row: str) -> None:
    told = refusal(tmp_path, ".csv", f"text,label\na,x\nb,y\n{row}\n")
    assert f"{tmp_path / 'train.csv'}:4: " in told and f"(is there '{COMMA}' where ',' belongs?)" in told


def test_a_csv_that_is_wrong_otherwise_has_no_such_hint(tmp_path: Path) -> None:
    told = refusal(tmp_path, ".csv", f'text,label\n"a{COMMA}b"c,x\n')
    assert "is not CSV" in told and "is there" not in told


@pytest.mark.parametrize("rows", ["a\tx\nb\ty\n", f"a{SPACE}x\nb{SPACE}y\n"])
@pytest.mark.parametrize("suffix", [".tsv", ".txt"])
def test_the_space_of_chinese_in_place_of_a_tab(tmp_path: Path, suffix: str, rows: str) -> None:
    header = f"text{SPACE}label\n"
    told = refusal(tmp_path, suffix, header + rows)
    hint = {
        ".tsv": r"train.tsv: its columns seem to be separated by '\u3000' (a full-width space), but those of a .tsv"
    }
    where = "(is there a full-width space where a tab belongs?)"
    assert hint.get(suffix, where) in told
    told = refusal(tmp_path, suffix, header + rows, Layout(columns=("text", "label")))
    assert f"1 field, but --task.columns names 2 (text, label) {where}" in told


@pytest.mark.parametrize(
    ("row", "told"), [("好 x", "(is there a space where a tab belongs?)"), (f"好{SPACE}看 text", None), ("好 z", None)]
)
def test_other_spaces_are_asked_about_before_a_label_alone(tmp_path: Path, row: str, told: str | None) -> None:
    message = refusal(tmp_path, ".tsv", f"text\tlabel\na\tx\nb\ty\n{row}\n")
    assert "1 field, but the file has 2 columns" in message
    assert (told or "is there") in message if told else "is there" not in message


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_header_parted_so_is_asked_about_where_columns_are_named(tmp_path: Path, suffix: str) -> None:
    mark = _mark(suffix)
    header: dict[str, Any] = {".csv": f"text{COMMA}label", ".tsv": "text label"}
    layout = Layout(columns=("text", "label"))
    assert "is there" in refusal(tmp_path, suffix, f"{header[suffix]}\na{mark}x\nb{mark}y\n", layout)


@pytest.mark.parametrize(
    ("name", "header", "alone"),
    [
        ("a.csv", f"内容{COMMA}类别", True),
        ("a.csv", "text|label", True),
        ("a.csv", "body; more", False),
        ("a.tsv", "text label", True),
        ("a.tsv", "body of it", False),
        ("a.tsv", r"text\tlabel", True),
        ("a.tsv", f"{full_width('text')}{SPACE}{full_width('label')}", True),
        ("a.tsv", "text\u00a0label", True),
        ("a.tsv", '"text"', True),
        ("a.tsv", f"合肥的出租车{COMMA}态度很差 好评", False),
    ],
)
def test_the_cause_is_told_before_its_consequences(tmp_path: Path, name: str, header: str, alone: bool) -> None:
    found = parted_otherwise([header], name, (*TEXTS, *LABELS))
    assert found and found.sure == alone
    told = wrong_table(TASKS["sst-2"], tmp_path / name, [header], True)
    assert told.startswith(found.text) and (told == found.text) == alone
    assert ("If they are not, its header has the columns" in told) != alone
    told = no_text([header], Layout(), f"/data/{name}")
    assert told.startswith(f"/data/{name}: {found.text}")
    assert ("If they are not, none of its columns" in told) != alone
    assert told.endswith("name all columns in order with --task.columns") != alone


def test_a_text_between_quotation_marks_is_no_header() -> None:
    assert parted_otherwise(['"a fine film"', "good"], "a.tsv", TEXTS) is None
    assert parted_otherwise(['"text"', '"label"'], "a.tsv", TEXTS)
