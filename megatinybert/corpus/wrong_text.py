"""What is wrong with the files of a run's text, as far as that is told before anything heavy is loaded."""

from __future__ import annotations

from dataclasses import replace

from megatinybert.config.data import DataConfig
from megatinybert.corpus.blocks import BLOCK_BYTES, Block, ReadSettings, read_blocks
from megatinybert.corpus.documents import LeftOut, split_documents
from megatinybert.corpus.run_text import NAMES, read_settings, sources_of
from megatinybert.corpus.sources import Source, kind_of
from megatinybert.corpus.streams import TextStream
from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import Findings

READ_WHOLE = 8 * 2**20  # bytes of all files together; those of more are read whole when shards are made of them
_PARSED = 2**20  # bytes of them that are parsed as JSON, which takes 50 times as long as to see their encoding
_FILES, _TOLD = 128, 5  # that are looked at, and told of
_OF_LINES = (".txt", ".jsonl")


def wrong_text(config: DataConfig) -> list[str]:
    """What a run refuses in the files of `config.text`, as it would say, of the first five such files. No torch is
    imported for it.

    Files of 8 MiB together are read whole. Of larger ones each gives its beginning, an equal share of so much; JSON is
    parsed, and tables are read, as far as a share of 1 MiB.
    """
    findings = Findings()
    sources = findings.attempt("--data.text", sources_of, config) or []
    whole = sum(source.size for source in sources) <= READ_WHOLE
    looked_at = sources[:_FILES]
    share, parsed = (size // max(len(looked_at), 1) for size in (READ_WHOLE, _PARSED))
    by_lines = read_settings(config, BLOCK_BYTES if whole else share)
    for source in looked_at:
        if kind_of(source.path) in _OF_LINES:
            findings.attempt(f"--data.text {source.path}", _look, source, by_lines, parsed, READ_WHOLE if whole else 0)
        else:
            otherwise = replace(by_lines, block_bytes=parsed)
            findings.attempt(f"--data.text {source.path}", _look, source, otherwise, parsed, 0)
    told = findings.texts("fail")
    more = [f"--data.text: {counted(len(told) - _TOLD, 'more file')} like these"] if len(told) > _TOLD else []
    return [*told[:_TOLD], *more]


def _look(source: Source, settings: ReadSettings, parsed: int, limit: int) -> None:
    """Read a file as shards are made of it: as many blocks as have `limit` bytes, and one at the least.

    parsed: bytes of JSON lines that are parsed; of the rest the encoding is looked at. Raises DataError.
    """
    if kind_of(source.path) in _OF_LINES and source.size > settings.block_bytes and _is_one_line(source, settings):
        return
    for block in read_blocks([source], settings):
        if block.layout == "object":
            if block.first_line == 1:
                _check(replace(block, data=block.data[: block.data.find(b"\n", parsed) + 1 or None]), settings)
            block = replace(block, layout="line")
        _check(block, settings)
        if block.text_bytes >= limit:
            break


def _check(block: Block, settings: ReadSettings) -> None:
    left_out: list[LeftOut] | None = [] if settings.mark_invalid else None
    split_documents(block, settings.text_key, settings.replace_invalid, NAMES, left_out)


def _is_one_line(source: Source, settings: ReadSettings) -> bool:
    """Whether its first block may be all of it, however long that is."""
    with source.path.open("rb") as file:
        errors = settings.replace_invalid, NAMES, settings.mark_invalid
        return b"\n" not in TextStream(source.path, file, settings.encoding, *errors).read(settings.block_bytes)
