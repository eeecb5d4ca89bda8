"""The text that is searched, read as a run's text is."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from megatinybert.config.codec import codec_name
from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings, read_blocks
from megatinybert.corpus.conversion import in_place, not_utf8
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.guess import ENCODING
from megatinybert.corpus.other_kinds import left_aside
from megatinybert.corpus.sources import find_sources, kind_of
from megatinybert.corpus.streams import TextStream
from megatinybert.corpus.wrong_encoding import WrongEncoding
from megatinybert.programs.start import say


def text_files(paths: Sequence[Path], data: Mapping[str, Any]) -> list[Path]:
    """The files that `--text` names, of a folder those that training reads; which it leaves aside is said.

    data: of the run's recipe. Raises ValueError for a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)  # of whatever name
            continue
        sources, others = find_sources([path], Path(str(data.get("cache", "data/cache"))), "--text")
        files += [source.path for source in sources]
        if others:
            say(f"{path}: {left_aside(others)}")
    return files


def read_text(option: str, file: Path, data: Mapping[str, Any]) -> str:
    """A file in UTF-8, or else in the encoding of the run's own text. Records of `.jsonl`, `.parquet` and so on are
    parted by blank lines; of other kinds the text is as it stands.

    data: of the run's recipe. Raises ValueError where the file is not there, or in another encoding.
    """
    if file.is_dir():
        together = f"cat {shlex.quote(str(file))}/*.txt > text.txt"
        raise ValueError(f"{option} {file} is a folder: name one text file, such as {together} makes")
    given, problems = codec_name(str(data.get("encoding", "utf-8"))), []
    for encoding in dict.fromkeys(("utf-8", given)):
        names = OptionNames(text_key="data.text_key of the run's config.yaml")
        settings = ReadSettings("blank-line", str(data.get("text_key", "text")), encoding, False, BLOCK_BYTES, names)
        try:
            return _whole(file, settings) if kind_of(file) in ("", ".txt") else "\n\n".join(_records(file, settings))
        except OSError as problem:
            raise ValueError(f"{option} {file}: {problem.strerror}") from problem
        except UnicodeDecodeError as problem:
            line = problem.object.count(b"\n", 0, problem.start) + 1
            problems.append(not_utf8(file, line))
        except WrongEncoding as problem:
            copies = in_place([file], problem.remedy.encoding or ENCODING, "utf-8")
            problems.append(f"{file}{problem.place}: {problem.what}: {copies}")
        except ValueError as problem:
            problems.append(str(problem))
    raise ValueError(f"{option} {problems[0]}")


def _whole(file: Path, settings: ReadSettings) -> str:
    with file.open("rb") as opened:
        stream = TextStream(file, opened, settings.encoding, False, settings.names)
        return b"".join(iter(partial(stream.read, BLOCK_BYTES), b"")).decode()


def _records(file: Path, settings: ReadSettings) -> Iterator[str]:
    file.open("rb").close()  # which tells of one that is not there
    sources, _ = find_sources([file], file, "")
    for block in read_blocks(sources, settings):
        for lines in split_documents(block, settings.text_key, False, settings.names).documents():
            yield "\n".join(lines)
