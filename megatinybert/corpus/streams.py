"""A text file as UTF-8 with LF, whatever its compression and encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

import zstandard

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.charset import MARK, REPLACE, contradiction, recognise, replacements
from megatinybert.corpus.guess import misread
from megatinybert.corpus.other_kinds import in_disguise
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.wrong_encoding import contradicted, invalid

_PIECE_BYTES = 1 << 20
_ZSTD_BYTES = 1 << 16  # of compressed text: what zstd makes of it is held in memory at once
_ZSTD_WINDOW = 1 << 31  # `zstd --long=31`, as large corpora are often published
_PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}


class TextStream:
    """The text of one file, without its byte-order mark. CRLF, LF and CR each end a line.

    UTF-8 is passed on as it is: whoever decodes it finds what is invalid. Other encodings are decoded here.
    encoding: the codec that is used.
    """

    def __init__(
        self,
        path: Path,
        file: IO[bytes],
        encoding: str,
        replace_invalid: bool,
        names: OptionNames,
        mark_invalid: bool = False,
    ) -> None:
        """mark_invalid: make invalid bytes of any encoding invalid UTF-8, unless they are replaced.
        Raises DataError where the first bytes show that the file is not in `encoding`.
        """
        content = _Reader(_content(path, file))
        head = content.read(_PIECE_BYTES)
        if told := in_disguise(path, head, of_rows=False):
            raise DataError(told)
        self.encoding, mark = recognise(head, encoding)
        problem = None if mark else contradiction(head, encoding, names) or misread(head, encoding, names)
        if problem:
            raise contradicted(path, problem, head, encoding, names)
        pieces = chain([head[mark:]], iter(partial(content.read, _PIECE_BYTES), b""))
        errors = REPLACE if replace_invalid else MARK if mark_invalid else "strict"
        self._decoder = _Decoder(path, self.encoding, errors, names)
        self._text = _Reader(map(_LineEnds(), pieces) if self.encoding == "utf-8" else self._decoder.utf8(pieces))

    @property
    def replaced(self) -> int:
        """How many invalid characters were replaced by U+FFFD here so far."""
        return self._decoder.replaced

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only where the text ends. Raises DataError naming the file and, for
        bytes that are not valid, the line.
        """
        return self._text.read(size)


class _Reader:
    """Reads by size what comes in pieces of any size, empty ones too."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece, self._at = b"", 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        parts = []
        while size:
            if self._at == len(self._piece):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece, self._at = piece, 0
            part = self._piece[self._at : self._at + size]
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)


class _LineEnds:
    """Makes LF of CRLF and CR in UTF-8 that comes in pieces."""

    def __init__(self) -> None:
        self._after_cr = False  # the LF of this CR is written already

    def __call__(self, piece: bytes) -> bytes:
        if not piece:
            return piece
        if self._after_cr:
            piece = piece.removeprefix(b"\n")
        self._after_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece


class _Decoder:
    """Makes UTF-8 with LF of another encoding."""

    def __init__(self, path: Path, encoding: str, errors: str, names: OptionNames) -> None:
        self._path, self._encoding, self._names = path, encoding, names
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._line_ends = _LineEnds()
        self._lines = 0
        self._begun = False
        self.replaced = 0

    def utf8(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield self._utf8(self._decode(piece, False))
        yield self._utf8(self._decode(b"", True))

    def _utf8(self, text: str) -> bytes:
        if text and not self._begun:
            text = text.removeprefix("\ufeff")  # GB18030 has a byte-order mark as well
            self._begun = True
        # A lone surrogate, which few codecs let pass, is found as invalid UTF-8 later.
        data = self._line_ends(text.encode("utf-8", "surrogatepass"))
        self._lines += data.count(b"\n")
        return data

    def _decode(self, piece: bytes, final: bool) -> str:
        before, replaced = self._decoder.getstate(), replacements()
        try:
            text = self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            self._decoder.setstate(before)
            raise self._refusal(piece, error) from error
        self.replaced += replacements() - replaced
        return text

    def _refusal(self, piece: bytes, error: UnicodeDecodeError) -> DataError:
        """Where the piece is invalid: decoded again byte by byte, which keeps the text before."""
        valid: list[str] = []
        try:
            for byte in piece:
                valid.append(self._decoder.decode(bytes([byte])))
        except UnicodeDecodeError:
            pass
        self._utf8("".join(valid))
        data = error.object
        first = data.rfind(b"\n", 0, error.start) + 1
        lines = data[first : data.rfind(b"\n", error.start) + 1] or data[first:]
        place = f", line {self._lines + 1:,}"
        return invalid(self._path, place, data[error.start], lines, self._encoding, self._names)


def _content(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a file, decompressed. Raises DataError where a compressed file is damaged."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".zst":
            yield from _unzstd(file)
        elif suffix == ".bz2":
            yield from _unpack(file, bz2.BZ2Decompressor)
        elif suffix == ".xz":
            yield from _unpack(file, lzma.LZMADecompressor)
        else:
            stream: IO[bytes] = gzip.GzipFile(fileobj=file) if suffix == ".gz" else file  # type: ignore[assignment]
            while piece := stream.read(_PIECE_BYTES):
                yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(f"{path}: damaged {_PACKED[suffix]} file ({error})") from error


def _unpack(file: IO[bytes], decoder: type[bz2.BZ2Decompressor] | type[lzma.LZMADecompressor]) -> Iterator[bytes]:
    """Streams one after the other are one text. The library's own files pass over what follows and is no stream."""
    stream = None
    while data := file.read(_ZSTD_BYTES):
        while data:
            if stream is None and not (data := data.lstrip(b"\0")):  # xz streams may be padded
                break
            stream = stream or decoder()
            try:
                yield stream.decompress(data, _PIECE_BYTES)
                while not (stream.eof or stream.needs_input):
                    yield stream.decompress(b"", _PIECE_BYTES)
            except OSError as error:  # bz2's word for damage
                raise EOFError(error) from error
            data = stream.unused_data
            if stream.eof:
                stream = None
    if stream is not None:
        raise EOFError("it ends within a stream")


def _unzstd(file: IO[bytes]) -> Iterator[bytes]:
    """Frames one after the other are one text. zstandard's own readers take a truncated frame for a whole one."""
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame = None
    while data := file.read(_ZSTD_BYTES):
        while data:
            frame = frame or context.decompressobj()
            yield frame.decompress(data)
            data = frame.unused_data
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("it ends within a frame")
