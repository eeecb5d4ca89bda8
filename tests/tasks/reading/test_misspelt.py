"""Columns whose names are nearly the usual ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.misspelt import misspelt
from megatinybert.tasks.reading.read import open_task
from tests.tasks.reading.test_wrong_files import wrong

USUAL = {"text_a_column": ("text", "sentence"), "label_column": ("label", "score")}


def full_width(word: str) -> str:
    """In letters as wide as Chinese characters."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in word)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("id text lable", ["Is 'lable' meant to be 'label'? Rename it in this file or, if it is called so in every "
                           "file, use --task.label_column lable"]),
        ("txt lable", ["Is 'txt' meant to be 'text'?", "Is 'lable' meant to be 'label'?"]),
        ("id category text", []),
        ("text label texts", []),
    ],
)  # fmt: skip
def test_the_nearest_usual_name_is_asked_for(names: str, found: list[str]) -> None:
    hint, whole = misspelt(names.split(), USUAL, Layout())
    assert hint.count(" meant to be ") == len(found) and all(each in hint for each in found)
    assert whole == bool(found)


def test_full_width_characters_are_the_cause() -> None:
    wide = [full_width("text"), "id", full_width("label")]
    hint, whole = misspelt(wide, USUAL, Layout())
    assert whole and hint.count(" in full-width characters. ") == 2
    assert f"{wide[0]!r} is 'text' in" in hint and f"{wide[2]!r} is 'label' in" in hint
    assert misspelt([wide[0], "stars"], USUAL, Layout()).whole is False


@pytest.mark.parametrize("header", ["id\ttext\tlable", "id\ttxt\tlabel", "id\ttxt\tlable"])
def test_both_files_are_asked_of_in_one_line(tmp_path: Path, header: str) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").write_text(f"{header}\n1\ta\tx\n2\tb\ty\n")
    (told,) = wrong(tmp_path)
    assert told.startswith(f"{tmp_path / 'train.tsv'} (likewise {tmp_path / 'eval.tsv'}): ")
    assert ("'lable' meant to be 'label'" in told) == ("lable" in header)
    assert ("'txt' meant to be 'text'" in told) == ("txt" in header)
    (tmp_path / "eval.tsv").write_text("id\ttext\tlabel\n1\ta\tx\n")
    assert len(wrong(tmp_path)) == 1


def test_keys_and_names_of_the_option_are_asked_of_too(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a", "lable": "x"}\n')
    with pytest.raises(ValueError, match="Is 'lable' meant to be 'label'"):
        open_task("custom", str(tmp_path))
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").rename(tmp_path / f"{name}.csv").write_text("a,x\nb,y\n")
    with pytest.raises(ValueError, match=r"--task.columns text lable has .*to be 'label'\? Correct --task.columns"):
        open_task("custom", str(tmp_path), layout=Layout(columns=("text", "lable")))


def test_keys_are_told_as_such_beside_the_option_of_columns(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text('{"txt": "a", "lable": "x"}\n')
    no_columns = ". --task.columns is for tables without a header, and says nothing of keys"
    told = []
    for layout in (Layout(columns=("txt", "lable")), Layout(columns=("txt", "lable"), text_a="txt")):
        with pytest.raises(ValueError) as caught:
            open_task("custom", str(tmp_path), layout=layout)
        told.append(str(caught.value))
        assert "its keys are txt, lable. Is " in told[-1] and no_columns in told[-1]
        assert "Correct --task.columns" not in told[-1] and "use --task.label_column lable" in told[-1]
    assert "use --task.text_a_column txt" in told[0]
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text('{"body": "a", "stars": "x"}\n')
    with pytest.raises(ValueError, match=r"none of its keys \(body, stars\) has a usual name") as caught:
        open_task("custom", str(tmp_path), layout=Layout(columns=("text", "label")))
    assert str(caught.value).endswith(no_columns)
