"""The input files of a corpus."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatinybert.config.missing import missing_file
from megatinybert.corpus.manifest import LEFT_OUT, MANIFEST, PROGRESS
from megatinybert.corpus.other_kinds import LINK, NOTES, SHARDS, none_to_read, not_read

PARQUET, ARROW = ".parquet", ".arrow"
_TEXT_KINDS = (".txt", ".jsonl", ".json")
_PACKINGS = (".gz", ".zst", ".bz2", ".xz")
_SHARD_RECORDS = {MANIFEST, PROGRESS, LEFT_OUT}
_SHARD_PARTS = (".bin", ".idx", ".partial")
# What Hugging Face's datasets writes beside the data of a saved data set.
_DATASET_NOTES = {"dataset_info.json", "state.json", "dataset_dict.json"}


class DataError(ValueError):
    """Something in an input file is not as it has to be. The message names the file and, where there is one,
    the line or row.
    """


@dataclass(frozen=True)
class Source:
    """One input file as it was found. name: its path from the input folder on (that folder's name
    included).
    """

    path: Path
    name: str
    size: int
    modified_ns: int


def find_sources(inputs: Sequence[str | Path], leave_out: Path, option: str) -> tuple[list[Source], list[str]]:
    """Find the input files: (sources in the order of `inputs`, and of relative paths in a folder; what is left out:
    files, and folders with what is said of their files behind their names).

    leave_out: a folder that is not looked into (the output). option: that of `inputs`. Raises ValueError
    listing every input that is missing, unreadable, of a kind that is not supported, or named twice.
    """
    sources: list[Source] = []
    left_out: list[str] = []
    problems: list[str] = []
    of_other_kinds: list[Path] = []
    for given in map(Path, inputs):
        try:
            if given.is_dir():
                found, others = _walk(given, leave_out)
                left_out += others
                sources += found
                if not found:
                    problems.append(f"{option} {given}: {none_to_read(others)}")
            elif missing := missing_file(option, given):
                problems.append(missing)
            elif not given.is_file():
                problems.append(f"{option} {given}: neither a file nor a folder")
            elif not _supported(given):
                of_other_kinds.append(given)
            else:
                sources.append(_source(given, given.name))
        except OSError as error:
            within = Path(error.filename or given)  # a folder below `given`, say
            problems.append(f"{option} {given if within == given else f'{given}: {within}'}: {error.strerror}")
    if of_other_kinds:
        problems.append(not_read(option, of_other_kinds))
    seen: set[Path] = set()
    for source in sources:
        resolved = source.path.resolve()
        if resolved in seen:
            problems.append(f"{option} {source.path}: named twice")
        elif not os.access(source.path, os.R_OK):
            problems.append(f"{option} {source.path}: permission denied")
        seen.add(resolved)
    if problems:
        raise ValueError("\n".join(problems))
    return sources, left_out


def check_unchanged(source: Source) -> None:
    """Raise DataError where a file is no longer the one that was found at the start."""
    try:
        now = source.path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{source.path}: removed while the shards were being built") from error
    if (now.st_size, now.st_mtime_ns) != (source.size, source.modified_ns):
        raise DataError(
            f"{source.path}: changed while the shards were being built (it had {source.size:,} bytes, now "
            f"{now.st_size:,}): delete the output folder and start over when the file is complete"
        )


def _walk(folder: Path, leave_out: Path) -> tuple[list[Source], list[str]]:
    paths: list[Path] = []
    left_out: list[str] = []
    label = Path(folder.resolve().name)

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        for name in list(folders):
            path = Path(parent, name)
            if path.resolve() == leave_out.resolve():
                folders.remove(name)
            elif path.is_symlink():
                left_out.append(f"{label / path.relative_to(folder)}{LINK}")
        no_text = _no_text(names)
        left_out += {f"{label / Path(parent).relative_to(folder)}{whose}" for whose in no_text.values()}
        for path in (Path(parent, name) for name in names if name not in no_text):
            if _supported(path) and path.is_file():
                paths.append(path)
            else:
                left_out.append(str(label / path.relative_to(folder)))
    paths.sort(key=lambda path: path.relative_to(folder).as_posix())
    return [_source(path, (label / path.relative_to(folder)).as_posix()) for path in paths], sorted(left_out)


def _source(path: Path, name: str) -> Source:
    facts = path.stat()
    return Source(path, name, facts.st_size, facts.st_mtime_ns)


def kind_of(path: Path) -> str:
    """What a file holds, by its name without the suffix of its compression: ".txt", say. "" is not supported."""
    name = path.name.lower()
    if name.endswith((PARQUET, ARROW)):  # which compress their columns themselves
        return PARQUET if name.endswith(PARQUET) else ARROW
    packing = next(filter(name.endswith, _PACKINGS), "")
    return next(filter(name.removesuffix(packing).endswith, _TEXT_KINDS), "")


def holds_text(folder: Path) -> bool:
    """Whether files of text lie in this folder itself. Those in .json, which lie in folders of all kinds, tell nothing;
    False where it is no folder.
    """
    names = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    return any(kind_of(Path(name)) not in ("", ".json") for name in set(names) - _no_text(names).keys())


def _supported(path: Path) -> bool:
    return bool(kind_of(path))


def _no_text(names: Sequence[str]) -> dict[str, str]:
    """Of the files of a folder those that are no text though some are called so, and whose they are: token shards with
    their records; of Hugging Face's datasets notes, and `cache-*.arrow`, the results of earlier computations, which
    would be the same text again.
    """
    parts = [name for name in names if name.endswith(_SHARD_PARTS)]
    records = [name for name in names if name in _SHARD_RECORDS]
    are_shards = bool(parts and records) or any(name.endswith(".idx") for name in parts)
    notes = (name for name in names if name in _DATASET_NOTES or (name.startswith("cache-") and name.endswith(ARROW)))
    return dict.fromkeys([*parts, *records] if are_shards else [], SHARDS) | dict.fromkeys(notes, NOTES)
