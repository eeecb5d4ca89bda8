"""Of files that are not read it is told which they are, which kinds are read, and how theirs may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.corpus.other_kinds import KINDS, left_aside, none_to_read, not_read, ways_of_rows
from megatinybert.corpus.sources import find_sources


def test_a_folder_without_text_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "old").mkdir(parents=True)
    for name in ("a.md", "b.html", "old/c.PDF", "d.docx"):
        (folder / name).write_bytes(b"text\n")
    with pytest.raises(ValueError) as caught:
        find_sources([folder], tmp_path / "out", "--data.text")
    ways = "plain text has to be called .txt; take the text out of documents first, as pandoc and pdftotext do"
    found = f"no {KINDS} file in this folder, but notes/a.md, notes/b.html, notes/d.docx, notes/old/c.PDF: {ways}"
    assert str(caught.value) == f"--data.text {folder}: {found}"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ", which is empty"),
        (["a.csv", "b.tsv"], ", but a.csv, b.tsv: save tables as .jsonl or .parquet"),
        (["a.tar.gz", "b.zip"], ", but a.tar.gz, b.zip: unpack archives"),
        (["README", "a.log"], ", but README, a.log: plain text has to be called .txt"),
        (["a (a link to a folder)"], ", but a (a link to a folder): name the folders themselves that links lead to"),
        (["train.bin", "train.idx"], ", but token shards, which a run reads by --data.shards"),
        ([f"{number}.md" for number in range(7)], ", but 0.md, 1.md, 2.md, 3.md, 4.md and 2 more: plain text has"),
    ],
)
def test_what_can_be_done_is_told_by_kind(names: list[str], said: str) -> None:
    assert none_to_read(names).startswith(f"no {KINDS} file in this folder{said}")


def test_files_that_are_named_are_told_together() -> None:
    """As a pattern of the shell names them."""
    paths = [Path("a.md"), Path("b.pdf")]
    ways = "plain text has to be called .txt; take the text out of documents first, as pandoc and pdftotext do"
    assert not_read("--input", paths) == f"--input a.md, b.pdf: not {KINDS} files: {ways}"
    alone = "take the text out of documents first, as pandoc and pdftotext do"
    assert not_read("--input", paths[1:]) == f"--input b.pdf: not a {KINDS} file: {alone}"


def test_files_beside_text_are_one_line() -> None:
    names = [f"{number}.md" for number in range(7)]
    assert left_aside(names) == f"left aside, since not {KINDS}: 7 files (0.md, 1.md, 2.md, 3.md, 4.md and 2 more)"


def test_what_makes_rows_is_told_by_kind() -> None:
    kinds = "Save spreadsheets as .csv in UTF-8; unpack archives and compressed files (a.XLSX, b.csv.gz, c.ods)"
    assert ways_of_rows(["README.md", "a.XLSX", "b.csv.gz", "c.ods", "train.csv"]) == kinds
    assert ways_of_rows(["a.pdf"]) == "Save the tables of documents as .csv in UTF-8 (a.pdf)"
    assert ways_of_rows(["README.md", "train.csv"]) == ""
