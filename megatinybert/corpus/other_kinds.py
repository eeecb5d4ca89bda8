"""Files of kinds that are not read: what to say of them, and what can be done to have them read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.counts import counted, some_of

KINDS = ".txt, .jsonl, .json (each also .gz, .zst, .bz2 or .xz), .parquet or .arrow"
LINK = " (a link to a folder)"  # as the names of such end here
_NAMED = 5
_WAYS = {
    "take the text out of documents first, as pandoc and pdftotext do": (
        *(".html", ".htm", ".xml", ".epub", ".tex", ".ipynb"),
        *(".pdf", ".ps", ".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx"),
    ),
    "save tables as .jsonl or .parquet": (".csv", ".tsv", ".xls", ".xlsx", ".ods"),
    "unpack archives": (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar"),
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


def _ways(names: Sequence[str]) -> str:
    """What can be done about all of them."""
    by_suffix = {suffix: way for way, suffixes in _WAYS.items() for suffix in suffixes}
    ways = (_OF_LINKS if name.endswith(LINK) else by_suffix.get(_suffix(name), _OTHERWISE) for name in names)
    return "; ".join(dict.fromkeys(ways))


def _suffix(name: str) -> str:
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    return "".join(suffixes) if suffixes[:1] == [".tar"] else "".join(suffixes[-1:])
