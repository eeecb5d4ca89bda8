"""Files of kinds that are not read: what to say of them, and what can be done to have them read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.counts import counted, some_of

KINDS = ".txt, .jsonl, .json (each also .gz, .zst, .bz2 or .xz), .parquet or .arrow"
LINK = " (a link to a folder)"  # as the names of such end here
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
_SHARDS = (".idx", ".bin")


def left_aside(names: Sequence[str]) -> str:
    """A line on the files of a folder that also has some which are read."""
    return f"left aside, since not {KINDS}: {counted(len(names), 'file')} ({some_of(names, _NAMED)})"


def none_to_read(names: Sequence[str]) -> str:
    """What is wrong with a folder that has these files and none that is read."""
    if any(name.endswith(_SHARDS) for name in names):
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


def _ways(names: Sequence[str]) -> str:
    """What can be done about all of them."""
    by_suffix = {suffix: way for way, suffixes in _WAYS.items() for suffix in suffixes}
    ways = (_OF_LINKS if name.endswith(LINK) else by_suffix.get(_suffix(name), _OTHERWISE) for name in names)
    return "; ".join(dict.fromkeys(ways))


def _suffix(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    return "".join(suffixes) if suffixes[:1] == [".tar"] else "".join(suffixes[-1:])
