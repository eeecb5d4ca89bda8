"""The files that a text is made of, to tell by name in what two texts differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from megatinybert.config.data import DataConfig
from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings, read_blocks
from megatinybert.corpus.manifest import MANIFEST, read_manifest
from megatinybert.corpus.run_text import NAMES, sources_of
from megatinybert.corpus.wrong_text import READ_WHOLE

_TOLD = 10  # files
_ORDER = "order of the text files"


class TextFile(NamedTuple):
    """name: below the folder that was named, or of the file. sha256: of its text, the beginning; "" of another text
    than any that it is compared with.
    """

    name: str
    bytes: int
    sha256: str


def files_of_shards(folders: Iterable[Path]) -> list[TextFile]:
    """What token shards were made of; nothing is known of Megatron datasets, which have no manifest."""
    manifests = [read_manifest(folder) for folder in folders if (folder / MANIFEST).is_file()]
    return [TextFile(each.name, each.bytes, each.sha256[:16]) for manifest in manifests for each in manifest.sources]


def files_of_text(config: DataConfig, there: Sequence[TextFile]) -> list[TextFile]:
    """The files of `config.text`, to be compared with others. Raises ValueError where one cannot be read.

    Files of 8 MiB together are read. Larger ones are counted: [] where there are as many, since one text has another
    size with other line ends or compression; else those of a name or size there are taken for the same.
    """
    sources, settings = sources_of(config), ReadSettings.of(config, BLOCK_BYTES, NAMES)
    if sum(source.size for source in sources) <= READ_WHOLE:
        ends = [list(read_blocks([source], settings))[-1] for source in sources]
        return [TextFile(s.name, s.size, end.sha256[:16]) for s, end in zip(sources, ends, strict=True)]
    if len(sources) == len(there):
        return []
    of_name = {each.name: each.sha256 for each in there}
    of_size = {each.bytes: each.sha256 for each in there}
    return [TextFile(s.name, s.size, of_name.get(s.name, of_size.get(s.size, ""))) for s in sources]


def in_what_they_differ(
    there: Sequence[TextFile], here: Sequence[TextFile]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What to say of the files of either text, by file, in which they differ; ({}, {}) of the same ones, whatever they
    are called.
    """
    if _texts(there) == _texts(here):
        return {}, {}
    before, now = _by_name(there), _by_name(here)
    names = [name for name in {**before, **now} if _texts(before.get(name)) != _texts(now.get(name))]
    if not names:
        return {_ORDER: ", ".join(each.name for each in there)}, {_ORDER: ", ".join(each.name for each in here)}
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    keys = {name: f"text file {name}" for name in names[:_TOLD]}
    keys[names[:_TOLD][-1]] += more
    return _words(keys, before, now), _words(keys, now, before)


def _by_name(files: Sequence[TextFile]) -> dict[str, list[TextFile]]:
    """Files of several folders may have one name."""
    found = defaultdict(list)
    for each in files:
        found[each.name].append(each)
    return dict(found)


def _texts(files: Sequence[TextFile] | None) -> list[str]:
    return [each.sha256 for each in files or []]


def _words(
    keys: Mapping[str, str], files: Mapping[str, list[TextFile]], others: Mapping[str, list[TextFile]]
) -> dict[str, str]:
    """By `keys` what is said of the files of one text, by name. others: those of the other text."""
    said = {}
    for name, key in keys.items():
        if name in files:
            sizes, there = ([each.bytes for each in some] for some in (files[name], others.get(name, [])))
            said[key] = " and ".join(f"{size:,} bytes" for size in sizes)
            if sizes == there:
                said[key] += f" (sha256 of the text {', '.join(_texts(files[name]))})"
    return said
