"""Files of kinds that are not read, told by their names or first bytes, and what can be done to have them read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.counts import some_of

KINDS = ".txt, .jsonl, .json (each also .gz, .zst, .bz2 or .xz), .parquet or .arrow"
# What stands behind the name of a folder that a link leads to, and of one with such files, which are told together.
LINK = " (a link to a folder)"
SHARDS = " (token shards)"
NOTES = " (what Hugging Face's datasets keeps beside rows)"
_NAMED = 5
_SPREADSHEETS = (".xls", ".xlsx", ".ods", ".numbers")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar")
_DOCUMENTS = (
    *(".html", ".htm", ".xml", ".epub", ".tex", ".ipynb"),
    *(".pdf", ".ps", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx"),
)
_WAYS = {
    "take the text out of documents first, as pandoc and pdftotext do": _DOCUMENTS,
    "save tables as .jsonl or .parquet": (".csv", ".tsv", *_SPREADSHEETS),
    "unpack archives": _ARCHIVES,
}
_WAYS_OF_ROWS = {
    "save spreadsheets as .csv in UTF-8": _SPREADSHEETS,
    "save the tables of documents as .csv in UTF-8": _DOCUMENTS,
    "save the rows of .parquet and .arrow files as .jsonl": (".parquet", ".arrow"),
    "unpack archives and compressed files": (*_ARCHIVES, ".gz", ".zst", ".bz2", ".xz"),
}
_OF_LINKS = "name the folders themselves that links lead to"
_OTHERWISE = "plain text has to be called .txt"
# The beginning of files that are no text, but for .zip's, whose entries say what it is.
_FIRST_BYTES = {
    b"\x1f\x8b\x08": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\xfd7zXZ\0": ".xz",
    b"PAR1\x15": ".parquet",
    b"ARROW1\0\0": ".arrow",
    b"%PDF-": ".pdf",
    b"{\\rtf1": ".rtf",
    b"7z\xbc\xaf\x27\x1c": ".7z",
    b"Rar!\x1a\x07": ".rar",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ".xls",  # or .doc, which says it further on
}
_ZIP = b"PK\x03\x04"
_ENTRIES = {
    b"xl/": ".xlsx",
    b"word/": ".docx",
    b"ppt/": ".pptx",
    b"opendocument.spreadsheet": ".ods",
    b"opendocument.text": ".odt",
}
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_TAR = re.compile(rb"(?s:.{257})ustar(  )?\0")
_POINTER = b"version https://git-lfs.github.com/spec/"
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html)", re.IGNORECASE)
_READ = (".gz", ".zst", ".bz2", ".xz", ".parquet", ".arrow")  # as a text, where they are called so


def left_aside(names: Sequence[str]) -> str:
    """A line on what a folder has beside files which are read."""
    return f"left aside, since not {KINDS}: {some_of(names, _NAMED)}"


def none_to_read(names: Sequence[str]) -> str:
    """What is wrong with a folder that has these and no file that is read."""
    if any(name.endswith(SHARDS) for name in names):
        return f"no {KINDS} file in this folder, but token shards, which a run reads by --data.shards"
    found = f"but {some_of(names, _NAMED)}: {_ways(names)}" if names else "which is empty"
    return f"no {KINDS} file in this folder, {found}"


def not_read(option: str, paths: Sequence[Path]) -> str:
    """What is wrong with files that an option names."""
    names = list(map(str, paths))
    what = f"a {KINDS} file" if len(paths) == 1 else f"{KINDS} files"
    return f"{option} {some_of(names, _NAMED)}: not {what}: {_ways(names)}"


def ways_of_rows(names: Sequence[str]) -> str:
    """What makes files of a task of those that are of other kinds, and which these are, as a sentence; "" of none."""
    kinds = {suffix: way for way, suffixes in _WAYS_OF_ROWS.items() for suffix in suffixes}
    found = [name for name in names if _suffix(name) in kinds]
    ways = "; ".join(dict.fromkeys(kinds[_suffix(name)] for name in found))
    return f"{ways[0].upper()}{ways[1:]} ({some_of(found, _NAMED)})" if found else ""


def in_disguise(path: Path, head: bytes, of_rows: bool) -> str:
    """What is wrong with a file whose first bytes are not those of text; "" of any other. of_rows: it is a task's."""
    if head.startswith(_POINTER):
        return f"{path}: not the file but what Git LFS keeps in its place: git lfs pull fetches it"
    if of_rows and _PAGE.match(head):
        return f"{path}: a web page in place of the file: download the file itself, which such a page links to"
    suffix = _suffix_of(head)
    if not suffix:
        return ""
    if suffix in _READ and not of_rows:
        way = f"call it {path.stem if suffix in ('.parquet', '.arrow') else path.name}{suffix}"
    else:
        way = (ways_of_rows if of_rows else _ways)([f"file{suffix}"]).partition(" (")[0]
    kind = ".xls or .doc" if suffix == ".xls" else suffix
    return f"{path}: its first bytes are those of a {kind} file, whatever it is called: {way[0].lower()}{way[1:]}"


def _suffix_of(head: bytes) -> str:
    """Of files that begin so; "" of text."""
    if head.startswith(_ZIP):
        return next((suffix for entry, suffix in _ENTRIES.items() if entry in head), ".zip")
    if _BZIP2.match(head):
        return ".bz2"
    if _TAR.match(head):
        return ".tar"
    return next((suffix for begin, suffix in _FIRST_BYTES.items() if head.startswith(begin)), "")


def _ways(names: Sequence[str]) -> str:
    """What can be done about all of them."""
    by_suffix = {suffix: way for way, suffixes in _WAYS.items() for suffix in suffixes}
    ways = (_OF_LINKS if name.endswith(LINK) else by_suffix.get(_suffix(name), _OTHERWISE) for name in names)
    return "; ".join(dict.fromkeys(ways))


def _suffix(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    return "".join(suffixes) if suffixes[:1] == [".tar"] else "".join(suffixes[-1:])
