"""Word vectors in GloVe's text format, and nearest words."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
import torch

from megatinybert.config.missing import unreadable_file
from megatinybert.corpus.charset import ASCII, CERTAIN_BYTES, MARK_BYTES, recognise
from megatinybert.corpus.conversion import not_utf8
from megatinybert.runtime.files import publish_folder
from megatinybert.runtime.progress_bar import progress_bar

_WORDS, _MATRIX = "words.txt", "vectors.f32"
_DTYPE = np.dtype("<f4")
_ROWS_AT_ONCE = 4096  # parsed before they are written
_FIRST_LINES = 100  # which tell how many numbers a word has
_SPARSE = re.compile(rb" \d+:-?[\d.]+(e-?\d+)?(?= |$)")
_QUERIES_AT_ONCE, _VECTORS_AT_ONCE = 512, 16384  # of the matrix product: 32 MiB of similarities


@dataclass(frozen=True)
class WordVectors:
    """words: V of them. unit: float32 (V, D), read-only and mapped from disk, each row of length 1 (or 0)."""

    words: list[str]
    unit: np.ndarray

    def nearest(self, words: Sequence[str], count: int) -> dict[str, list[str]]:
        """The `count` nearest other words of each word by cosine, in the order of the file.

        A word is looked up as it is, then in lower case; one that is not there is left out of the result. Entries that
        hold white space of any kind, or differ from the word in case alone, are dropped and not made up for. Those of a
        word like "Film" begin with a capital, too, as in the published code.
        """
        wanted = {*words, *(word.lower() for word in words)}
        index: dict[str, int] = {}
        for number, entry in enumerate(self.words):
            if entry in wanted:
                index.setdefault(entry, number)
        rows = {word: index.get(word, index.get(word.lower(), -1)) for word in dict.fromkeys(words)}
        found = [(word, row) for word, row in rows.items() if row >= 0]
        result: dict[str, list[str]] = {}
        for start in range(0, len(found), _QUERIES_AT_ONCE):
            block = found[start : start + _QUERIES_AT_ONCE]
            best = self._nearest_rows(np.array([row for _, row in block]), min(count, len(self.words) - 1))
            for (word, _), neighbours in zip(block, best, strict=True):
                entries = [self.words[neighbour] for neighbour in neighbours]
                kept = [entry for entry in entries if not _has_space(entry) and entry.casefold() != word.casefold()]
                result[word] = [entry[0].upper() + entry[1:] if word.istitle() else entry for entry in kept]
        return result

    def _nearest_rows(self, rows: np.ndarray, count: int) -> np.ndarray:
        """rows: (Q,) -> the rows of the largest cosines with each, itself left out, ascending: int64 (Q, count)."""
        queries = torch.from_numpy(self.unit[rows])
        own = torch.from_numpy(rows)
        cosines, best = torch.empty(len(rows), 0), torch.empty(len(rows), 0, dtype=torch.int64)
        for start in range(0, len(self.words), _VECTORS_AT_ONCE):
            block = torch.from_numpy(np.array(self.unit[start : start + _VECTORS_AT_ONCE]))
            similar = queries @ block.T
            here = ((own >= start) & (own < start + len(block))).nonzero().flatten()
            similar[here, own[here] - start] = -torch.inf
            values, columns = similar.topk(min(count, len(block)))
            cosines, best = torch.cat([cosines, values], 1), torch.cat([best, columns + start], 1)
            cosines, order = cosines.topk(min(count, cosines.shape[1]))
            best = best.gather(1, order)
        return np.sort(best.numpy(), axis=1)


def open_vectors(path: Path, cache: Path, option: str, show_progress: bool = False) -> WordVectors:
    """Open a file of word vectors: a word and its D numbers a line, separated by single spaces (U+0020).

    A word is what stands before the last D fields, so it may hold spaces. D is the second of two whole numbers that are
    the first line (the head of word2vec's and fastText's text format), or what most of the first 100 lines have. The
    file is read once, into a folder of its own in `cache`; from then on the vectors are mapped from there. option: that
    names the file. Raises ValueError naming the line that is malformed or in another encoding than UTF-8, and for
    sparse and binary files. A broken word of a file that is UTF-8 (fastText cuts long ones) is read with U+FFFD.
    """
    folder = cache / f"{path.name}.{vectors_key(path, option)[:12]}"
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        try:
            temporary.mkdir(parents=True)
            _convert(path, temporary, option, show_progress)
            publish_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    words = (folder / _WORDS).read_bytes().decode().split("\n")
    unit = np.memmap(folder / _MATRIX, dtype=_DTYPE, mode="r")
    return WordVectors(words, unit.reshape(len(words), -1))


def vectors_key(path: Path, option: str) -> str:
    """Tells the file from others: a hash of size, time of change and first MiB. Raises ValueError without a file."""
    if problem := unreadable_file(option, path):
        raise ValueError(problem)
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(1 << 20)
    return hashlib.sha256(f"{status.st_size} {status.st_mtime_ns} ".encode() + head).hexdigest()


def _convert(path: Path, folder: Path, option: str, show_progress: bool) -> None:
    first = True
    with (folder / _MATRIX).open("wb") as matrix, (folder / _WORDS).open("wb") as words:
        for block, vectors in _blocks(path, option, show_progress):
            words.write((b"" if first else b"\n") + b"\n".join(block))
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            matrix.write((vectors / np.where(lengths > 0, lengths, 1)).astype(_DTYPE).tobytes())
            first = False
    if first:
        raise ValueError(f"{option} {path}: no vectors in it")


def _blocks(path: Path, option: str, show_progress: bool) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Words, in UTF-8, and their vectors, float64 (n, D), so many lines at a time."""
    words: list[bytes] = []
    rows: list[list[float]] = []
    bar = progress_bar(path.stat().st_size, "B", unit_scale=True, desc=path.name, disable=not show_progress)
    with path.open("rb") as file, bar:
        marked, mark = recognise(file.read(MARK_BYTES), "utf-8")
        if marked != "utf-8":
            raise ValueError(f"{option} {not_utf8(path, 1)}")
        file.seek(mark)
        width, has_head = _width(list(islice(file, _FIRST_LINES)), f"{option} {path}")
        file.seek(mark)
        beyond = 0  # bytes beyond ASCII so far
        for number, line in enumerate(file, start=1):
            bar.update(len(line))
            if number == 1 and has_head:
                continue
            raw, vector = _parse(line, width, has_head, f"{option} {path}, line {number:,}")
            word = raw.decode("utf-8", "replace").encode()
            if word != raw and beyond < CERTAIN_BYTES:
                raise ValueError(f"{option} {not_utf8(path, number)}")
            beyond += 0 if raw.isascii() else len(raw.translate(None, ASCII))
            words.append(word)
            rows.append(vector)
            if len(rows) == _ROWS_AT_ONCE:
                yield words, np.array(rows)
                words, rows = [], []
    if rows:
        yield words, np.array(rows)


def _width(lines: Sequence[bytes], file: str) -> tuple[int, bool]:
    """D, and whether the first line is a head that says so. lines: the first of the file, which is `file` in messages.

    Raises ValueError where they are no text, or sparse.
    """
    if any(b"\0" in line for line in lines):
        raise ValueError(f"{file}: a binary file: save its vectors as text, one word and its numbers per line")
    if any(len(_SPARSE.findall(line.rstrip())) > line.count(b" ") // 2 for line in lines):
        raise ValueError(
            f"{file}: sparse vectors (dimension:value, as PPMI's are published), but dense ones are needed: take a "
            "file of word2vec, fastText or GloVe, such as one trained by SGNS"
        )
    first = _fields(lines[0]) if lines else []
    if len(first) == 2 and all(field.isdigit() for field in first):
        return int(first[1]), True
    widths: Counter[int] = Counter()
    for line in lines:
        fields = _fields(line)[1:]
        widths[sum(1 for _ in takewhile(_is_number, reversed(fields)))] += 1
    return (widths.most_common(1)[0][0] if widths else 0), False


def _fields(line: bytes) -> list[bytes]:
    return line.rstrip(b" \r\n").split(b" ")


def _parse(line: bytes, width: int, certain: bool, place: str) -> tuple[bytes, list[float]]:
    """A word, which may hold spaces, and its numbers. certain: the file says how many there are, so that what stands
    before them is the word's, even where it is a number. The word is returned as it stands there.
    """
    fields = _fields(line)
    word = b" ".join(fields[: len(fields) - width])
    vector: list[float] = []
    with contextlib.suppress(ValueError):
        vector = [float(field) for field in fields[len(fields) - width :]]
    extra = not certain and len(fields) > width + 1 and _is_number(fields[len(fields) - width - 1])
    if width < 1 or not word or b"\t" in word or extra or len(vector) != width or not np.isfinite(vector).all():
        tabs = " and not by tabs" if b"\t" in word else ""
        shown = b" ".join(fields)[:60].decode("utf-8", "replace")
        raise ValueError(
            f"{place}: a word and {max(width, 1):,} finite numbers are needed, separated by single spaces"
            f"{tabs}: {shown!r}"
        )
    return word, vector


def _has_space(word: str) -> bool:
    return any(map(str.isspace, word))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
