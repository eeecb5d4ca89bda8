"""What is wrong with the files of a text, as far as that is told before anything heavy is loaded, or built of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING

from megatinybert.config.data import DataConfig
from megatinybert.config.flat import OptionNames
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.blocks import BLOCK_BYTES, Block, ReadSettings, read_blocks
from megatinybert.corpus.documents import LeftOut, split_documents
from megatinybert.corpus.run_text import NAMES, sources_of
from megatinybert.corpus.sources import Source, find_sources, kind_of
from megatinybert.corpus.streams import TextStream
from megatinybert.corpus.vocabulary import Vocabulary, are_mostly_unknown
from megatinybert.corpus.wrong_encoding import WrongEncoding, together
from megatinybert.runtime.counts import counted, some_of
from megatinybert.runtime.findings import Findings

if TYPE_CHECKING:  # else all that looks at a text would import it
    from tokenizers import Tokenizer

READ_WHOLE = 8 * 2**20  # bytes of all files together; those of more are read whole when shards are made of them
_PARSED = 2**20  # bytes of them that are parsed as JSON, which takes 50 times as long as to see their encoding
_FILES, _TOLD = 128, 5  # that are looked at, and told of
_OF_LINES = (".txt", ".jsonl")
_PLACES, _PLACE_BYTES = 8, 1 << 15  # of a text, that are tokenized, in a few tenths of a second
_FEWEST_PLACES = 4  # that tell what language a text is in which is not seen whole


def wrong_text(config: DataConfig) -> list[str]:
    """What a run refuses in the files of `config.text`, as it would say, as far as `wrong_sources` sees it. No torch is
    imported for it.
    """
    findings = Findings()
    sources = findings.attempt("--data.text", sources_of, config) or []
    return [*findings.texts("fail"), *wrong_sources(sources, ReadSettings.of(config, BLOCK_BYTES, NAMES))]


def wrong_input(options: BuildOptions) -> list[str]:
    """The same of the files of a build."""
    try:
        sources, _ = find_sources(options.input, options.output, options.names["input"])
    except (ValueError, OSError):  # which the build tells, with what else is wrong in the command
        return []
    return wrong_sources(sources, ReadSettings.of(options, BLOCK_BYTES, options.names))


def wrong_sources(sources: Sequence[Source], settings: ReadSettings) -> list[str]:
    """What building shards refuses in files, of the first five of them; those in one other encoding are told as one.

    Files of 8 MiB together are read whole. Of larger ones each of the first 128 gives its beginning, an equal share of
    so much; JSON is parsed, and tables are read, as far as a share of 1 MiB.
    """
    whole = sum(source.size for source in sources) <= READ_WHOLE
    looked_at = sources[:_FILES]
    share, parsed = (size // max(len(looked_at), 1) for size in (READ_WHOLE, _PARSED))
    by_lines = settings if whole else replace(settings, block_bytes=share)
    told: list[str] = []
    other_encodings: defaultdict[object, list[WrongEncoding]] = defaultdict(list)
    for source in looked_at:
        of_lines = kind_of(source.path) in _OF_LINES
        reading = by_lines if of_lines else replace(by_lines, block_bytes=parsed)
        try:
            _look(source, reading, parsed, READ_WHOLE if whole and of_lines else 0)
        except WrongEncoding as error:
            other_encodings[error.kind].append(error)
        except ValueError as error:
            told.append(str(error))
        except OSError as error:
            told.append(f"{settings.names['input']} {source.path}: {error}")
    of_encodings = [together(found, len(found) == len(sources)) for found in other_encodings.values()]
    told = [*of_encodings, *told]
    option, more = settings.names["input"], told[_TOLD:]
    told[_TOLD:] = [f"{option}: {counted(len(more), 'more file')} like these"] if more else []
    if told and len(sources) > _FILES:
        told.append(f"{option}: of {len(sources):,} files the first {_FILES} were looked at: others may be like these")
    return told


def unknown_text(sources: Sequence[Source], settings: ReadSettings, tokenizer: Tokenizer, name: str) -> list[str]:
    """What to say of a text that is mostly [UNK] to a tokenizer, called `name`: a run would refuse it, once shards are
    made of it. Up to eight places of 32 kB are looked at, evenly spread over the bytes of all files.

    Of a large file that is compressed, a table or JSON, a place is its beginning, since the rest cannot be reached
    cheaply. Where that leaves fewer than four places, as of one such file, or where lines are too long to see one,
    nothing is said: what is not seen may be in another language.
    """
    reading = replace(settings, block_bytes=_PLACE_BYTES)
    try:
        looked_at = {source: _lines_of(source, places, reading) for source, places in _places(sources).items()}
    except (ValueError, OSError):  # which whoever builds shards tells
        return []
    samples = [lines for found, _ in looked_at.values() for lines in found]
    all_over = all(is_all_over for _, is_all_over in looked_at.values())
    if not all(samples) or (len(samples) < _FEWEST_PLACES and not all_over):
        return []
    tokenizer.no_truncation()
    tokenizer.no_padding()
    vocabulary, tokens, unknown = Vocabulary(tokenizer, name), 0, 0
    for line in chain.from_iterable(samples):
        ids = tokenizer.encode(line.decode(), add_special_tokens=False).ids
        tokens, unknown = tokens + len(ids), unknown + sum(each == vocabulary.unknown_id for each in ids)
    if not are_mostly_unknown(unknown, tokens):
        return []
    files = some_of([source.path for source in looked_at])
    return [f"{settings.names['input']} {files}: in a sample {vocabulary.unknowns(unknown, tokens)}"]


def _places(sources: Sequence[Source]) -> Mapping[Source, Sequence[int]]:
    """Where to look: at which bytes of which files."""
    found: defaultdict[Source, list[int]] = defaultdict(list)
    ends = list(accumulate(source.size for source in sources))
    total = ends[-1] if ends else 0
    for at in range(0, total, -(-total // _PLACES) or 1):
        number = bisect_right(ends, at)
        source = sources[number]
        within = at - ends[number] + source.size
        place = within - within % _PLACE_BYTES if _is_in_any_order(source) else 0
        if place not in found[source]:
            found[source].append(place)
    return found


def _is_in_any_order(source: Source) -> bool:
    """Whether its lines are read from any place on; a small file is read whole."""
    return source.size > _PLACE_BYTES and source.path.suffix.lower() in _OF_LINES  # and thus not compressed


def _lines_of(source: Source, places: Sequence[int], settings: ReadSettings) -> tuple[list[list[bytes]], bool]:
    """(Whole lines at each of some places of a file; whether these are all over it). Raises DataError."""
    small = source.size <= settings.block_bytes
    if kind_of(source.path) in _OF_LINES and not small and _is_one_line(source, settings):
        return [[]], False
    blocks = read_blocks([source], settings)
    first = next(blocks)
    pieces = [_cut_out(source, at, first) if at else first for at in places]
    if small:
        pieces += islice(blocks, 3)  # compressed, or in another encoding, it may have as much text
    lines = [split_documents(piece, *_reading_of(settings), []).lines.all() for piece in pieces]
    return lines, next(blocks, None) is None if small else _is_in_any_order(source)


def _cut_out(source: Source, at: int, like: Block) -> Block:
    """The whole lines within the next 32 kB of a file of lines. like: another block of it."""
    with source.path.open("rb") as file:
        file.seek(at)
        text = file.read(_PLACE_BYTES).decode(like.encoding, "ignore")
    # What is cut within a character may be read wrongly up to the line's end; UTF-16 and UTF-32 are not cut so.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")[1:-1]
    return replace(like, data="\n".join(lines).encode())


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
    split_documents(block, *_reading_of(settings), left_out)


def _reading_of(settings: ReadSettings) -> tuple[str, bool, OptionNames]:
    return settings.text_key, settings.replace_invalid, settings.names


def _is_one_line(source: Source, settings: ReadSettings) -> bool:
    """Whether its first block may be all of it, however long that is."""
    with source.path.open("rb") as file:
        errors = settings.replace_invalid, settings.names, settings.mark_invalid
        return b"\n" not in TextStream(source.path, file, settings.encoding, *errors).read(settings.block_bytes)
