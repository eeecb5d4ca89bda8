"""Whether a run is continued on another text, told by its files. No torch is imported here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from megatinybert.config.data import DataConfig
from megatinybert.corpus.text_files import TextFile, files_of_shards, files_of_text, in_what_they_differ
from megatinybert.runtime.counts import some_of

# Facts that people are told where others differ: how the text is called, and its files. It may be called otherwise, or
# lie elsewhere.
NAMED, FILES = "text", "text files"
REMEDY = (
    "set these back to continue it (the same text, models and options), "
    "or choose another --run.output_dir for a new run"
)
_HASHES = ("corpus", "corpus checksum")


def text_in_words(data: DataConfig) -> str:
    """The option of the text and what it names, for people."""
    return f"--data.text {some_of(data.text)}" if data.text else f"--data.shards {some_of(data.shards or [])}"


def told_by_files(
    there: Mapping[str, Any], here: Mapping[str, Any], other_text: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of two runs, of another text with the files that differ in place of its hashes, where any do."""
    files = [[TextFile(*each) for each in facts.get(FILES) or []] for facts in (there, here)]
    differ = in_what_they_differ(*files) if other_text and all(files) else ({}, {})
    left_out = {FILES, *(_HASHES if any(differ) else ())}
    before, now = ({name: fact for name, fact in facts.items() if name not in left_out} for facts in (there, here))
    return {**before, **differ[0]}, {**now, **differ[1]}


def with_other_text(checkpoint: Path) -> str:
    """REMEDY where the text is another one than that of the run which wrote `checkpoint`: a new run can begin with the
    student of that one, once it has left it.
    """
    run = checkpoint.parent.parent
    if not (run / "student" / "config.json").is_file():
        return REMEDY
    return f"{REMEDY} (--student.init {run} lets that one begin with its student)"


def files_now(data: DataConfig, recorded: Sequence[Sequence[Any]]) -> list[TextFile]:
    """The files of the text, as those that a run has `recorded`: small ones are read, large ones are counted. [] where
    they cannot be read, which is told by who opens them.
    """
    with suppress(ValueError, OSError):
        if data.text:
            return files_of_text(data, [TextFile(*each) for each in recorded])
        paths = map(Path, data.shards or [])
        return files_of_shards(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))
    return []
