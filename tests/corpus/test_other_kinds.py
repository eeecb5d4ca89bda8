"""Of files that are not read it is told which they are, which kinds are read, and how theirs may be."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard

from megatinybert.config.data import DataConfig
from megatinybert.corpus.other_kinds import KINDS, in_disguise, left_aside, none_to_read, not_read, ways_of_rows
from megatinybert.corpus.sources import find_sources
from megatinybert.corpus.wrong_text import wrong_text


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
        (["notes.md", "wiki (token shards)"], ", but token shards, which a run reads by --data.shards"),
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
    assert left_aside(names) == f"left aside, since not {KINDS}: 0.md, 1.md, 2.md, 3.md, 4.md and 2 more"


def test_what_makes_rows_is_told_by_kind() -> None:
    kinds = "Save spreadsheets as .csv in UTF-8; unpack archives and compressed files (a.XLSX, b.csv.gz, c.ods)"
    assert ways_of_rows(["README.md", "a.XLSX", "b.csv.gz", "c.ods", "train.csv"]) == kinds
    assert ways_of_rows(["a.pdf"]) == "Save the tables of documents as .csv in UTF-8 (a.pdf)"
    assert ways_of_rows(["README.md", "train.csv"]) == ""


def archived(**members: bytes) -> bytes:
    """A .zip with these members, whose names have __ for a slash."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return packed.getvalue()


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.csv"))
    return packed.getvalue()


def table(kind: str) -> bytes:
    packed = io.BytesIO()
    of_rows = pa.table({"text": ["fine"]})
    if kind == "parquet":
        pq.write_table(of_rows, packed)
    else:
        feather.write_feather(of_rows, packed)
    return packed.getvalue()


OPEN_DOCUMENT = b"application/vnd.oasis.opendocument."
DISGUISED = {
    ".xlsx": (archived(_rels=b"", xl__workbook=b"<xml>"), "save tables as", "save spreadsheets as .csv in UTF-8"),
    ".ods": (archived(mimetype=OPEN_DOCUMENT + b"spreadsheet"), "save tables as", "save spreadsheets as"),
    ".odt": (archived(mimetype=OPEN_DOCUMENT + b"text"), "take the text out", "save the tables of documents"),
    ".docx": (archived(word__document=b""), "take the text out of documents", "save the tables of documents"),
    ".zip": (archived(train=b"fine\n"), "unpack archives", "unpack archives and compressed files"),
    ".xls or .doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "save tables as", "save spreadsheets as"),
    ".tar": (tarred(), "unpack archives", "unpack archives"),
    ".gz": (gzip.compress(b"fine\n"), "call it train.csv.gz", "unpack archives and compressed files"),
    ".bz2": (bz2.compress(b"fine\n"), "call it train.csv.bz2", "unpack archives"),
    ".xz": (lzma.compress(b"fine\n"), "call it train.csv.xz", "unpack archives"),
    ".zst": (zstandard.compress(b"fine\n"), "call it train.csv.zst", "unpack archives"),
    ".parquet": (table("parquet"), "call it train.parquet", "save the rows of .parquet and .arrow files as .jsonl"),
    ".arrow": (table("arrow"), "call it train.arrow", "save the rows of .parquet and .arrow files as .jsonl"),
    ".pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "take the text out of documents", "save the tables of documents"),
    ".rtf": (b"{\\rtf1\\ansi fine}", "take the text out of documents", "save the tables of documents"),
}


@pytest.mark.parametrize("kind", DISGUISED)
def test_other_kinds_are_told_by_their_first_bytes(kind: str) -> None:
    head, of_text, of_rows = DISGUISED[kind]
    begin = f"data/train.csv: its first bytes are those of a {kind} file, whatever it is called: "
    assert in_disguise(Path("data/train.csv"), head, of_rows=False).startswith(begin + of_text)
    assert in_disguise(Path("data/train.csv"), head, of_rows=True).startswith(begin + of_rows)


def test_a_web_page_is_told_in_place_of_rows() -> None:
    """As a browser saves what shows a file. Of text it may be one."""
    page = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>"
    told = in_disguise(Path("train.csv"), page, of_rows=True)
    assert told == "train.csv: a web page in place of the file: download the file itself, which such a page links to"
    assert in_disguise(Path("train.txt"), page, of_rows=False) == ""


def test_a_pointer_is_told() -> None:
    """As a clone without Git LFS has them."""
    head = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 12\n"
    told = "train.csv: not the file but what Git LFS keeps in its place: git lfs pull fetches it"
    assert in_disguise(Path("train.csv"), head, of_rows=True) == told


@pytest.mark.parametrize(
    "text", ["", "PK, 7z and Rar!", "PAR1 and ARROW1", "BZh91", "%PDF is a kind", "x" * 257 + "ustar"]
)
def test_text_is_no_other_kind(text: str) -> None:
    assert in_disguise(Path("train.txt"), text.encode(), of_rows=False) == ""
    assert in_disguise(Path("train.txt"), text.encode("utf-16"), of_rows=True) == ""


def test_files_of_text_are_looked_at_as_they_are_read(tmp_path: Path) -> None:
    sheet = DISGUISED[".xlsx"][0]
    (tmp_path / "text.txt").write_bytes(sheet)
    (text,) = wrong_text(DataConfig(text=[str(tmp_path / "text.txt")]))
    assert text.startswith(f"{tmp_path / 'text.txt'}: its first bytes are those of a .xlsx file, ")
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(tarred()))
    (packed,) = wrong_text(DataConfig(text=[str(tmp_path / "packed.txt.gz")]))
    assert packed.startswith(f"{tmp_path / 'packed.txt.gz'}: its first bytes are those of a .tar file, ")
