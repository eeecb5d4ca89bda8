"""Labels and texts in one another's place are told before anything else of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import open_task


def write(folder: Path, suffix: str, *rows: str) -> None:
    for name in ("train", "eval"):
        (folder / f"{name}{suffix}").write_text("".join(f"{row}\n" for row in rows))


def opened(folder: Path, **layout: object) -> TaskFiles:
    return open_task("custom", str(folder), layout=Layout(**layout))  # type: ignore[arg-type]


def refusal(folder: Path, **layout: object) -> str:
    with pytest.raises(ValueError) as caught:
        opened(folder, **layout)
    return str(caught.value)


SINGLES = [f"{('good', 'bad')[row % 2]}\tfilm {row}" for row in range(8)]


def test_singles_by_the_option_by_place_and_by_names(tmp_path: Path) -> None:
    write(tmp_path, ".txt", *SINGLES)
    held = "8 rows have 8 labels ('film 0', 'film 1', 'film 2' and 5 more), and as text only 2 ('good', 'bad')"
    told = refusal(tmp_path)
    assert told == f"{tmp_path / 'train.txt'}: {held}, so they seem to be swapped: give --task.columns label text"
    assert opened(tmp_path, columns=("label", "text")).task.labels == ("bad", "good")
    told = refusal(tmp_path, columns=("text", "label"))
    assert told.endswith(": exchange the two names in --task.columns text label")
    for name in ("train", "eval"):
        (tmp_path / f"{name}.txt").unlink()
    write(tmp_path, ".tsv", "text\tlabel", *SINGLES)
    assert refusal(tmp_path).endswith("say which is which with --task.text_a_column and --task.label_column")
    assert opened(tmp_path, text_a="label", label="text").task.labels == ("bad", "good")


@pytest.mark.parametrize(("order", "columns"), [((2, 1, 0), "label text_b text_a"), ((0, 2, 1), "text_a label text_b")])
def test_pairs(tmp_path: Path, order: tuple[int, ...], columns: str) -> None:
    rows = [(f"a {row}", f"b {row}", ("same", "other")[row % 2]) for row in range(8)]
    write(tmp_path, ".txt", *("\t".join(row[place] for place in order) for row in rows))
    assert refusal(tmp_path).endswith(f"seem to be swapped: give --task.columns {columns}")
    assert opened(tmp_path, columns=tuple(columns.split())).task.labels == ("other", "same")


def test_what_only_looks_alike_is_read(tmp_path: Path) -> None:
    write(tmp_path, ".txt", *(f"film {row}\tlabel {row}" for row in range(8)))  # as many texts as labels
    assert len(opened(tmp_path).task.labels or ()) == 8
    write(tmp_path, ".txt", *SINGLES[:5])  # a few rows
    assert len(opened(tmp_path).task.labels or ()) == 5
    write(tmp_path, ".txt", *(f"the same text\t{row}.5" for row in range(8)))  # scores
    assert opened(tmp_path).task.labels is None
