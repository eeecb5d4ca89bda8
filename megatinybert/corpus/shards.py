"""Token shards: Megatron-LM's .bin/.idx format (MMIDIDX, version 1), manifest.

P.bin holds token ids and nothing else. P.idx holds, little-endian: the header, the version (uint64), a code
for the type of the ids (uint8), the number of sequences and of document indices (uint64 each), the length of
each sequence (int32), its first byte in P.bin (int64), and the document indices (int64): 0 and, per document,
how many sequences end with it.
"""

from __future__ import annotations

import mmap
import os
import resource
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from megatinybert.config.missing import missing_shards
from megatinybert.corpus.manifest import MANIFEST, Manifest, NoShards, ShardEntry, read_manifest
from megatinybert.corpus.sources import holds_text

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
_CODES = {np.dtype(kind): code for code, kind in _DTYPES.items()}
_CHUNK = 1 << 18
_MOST_FILES = 1 << 15
# Seconds for which storage that has disappeared is waited for, and between two tries. Other ranks wait for a minute.
_PATIENCE, _PAUSE = 30.0, 1.0


class MappedFiles:
    """Token files mapped into memory, the most recently used ones only: each takes a file descriptor."""

    def __init__(self, limit: int | None = None) -> None:
        """limit: how many stay mapped; None: half of the files that this process may open."""
        self._limit = limit
        self.tokens = lru_cache(maxsize=limit or _raise_limit_of_files() // 2)(_map)

    def __reduce__(self) -> tuple[type[MappedFiles], tuple[int | None]]:
        return MappedFiles, (self._limit,)


@dataclass(frozen=True)
class TokenShard:
    """One pair of .bin and .idx files. Nothing is read before it is asked for; it can be pickled.

    prefix: path without the suffix. n_tokens, sequences and documents are counts; dtype is that of the ids.
    """

    prefix: Path
    dtype: np.dtype
    n_tokens: int
    sequences: int
    documents: int
    _files: MappedFiles = field(default_factory=MappedFiles, repr=False, compare=False)

    @property
    def tokens(self) -> np.ndarray:
        """All ids, 1-D, mapped read-only. A file that cannot be reached is tried again for _PATIENCE.

        Raises ValueError where that is in vain, and where the file has been cut short since it was opened: reading
        beyond its end would end the process without a word.
        """
        first_failure: float | None = None
        while True:
            try:
                return self._mapped()
            except OSError as error:
                first_failure = first_failure or time.monotonic()
                waited = time.monotonic() - first_failure
                if waited >= _PATIENCE:
                    raise ValueError(f"{self._bin_path} cannot be read, tried for {waited:.0f} s: {error}") from error
            time.sleep(_PAUSE)

    def _mapped(self) -> np.ndarray:
        tokens = self._files.tokens(self._bin_path, self.dtype, 0, self.n_tokens)
        if isinstance(mapped := tokens.base, np.memmap) and isinstance(file := mapped.base, mmap.mmap):
            _check_holds(self._bin_path, file.size(), tokens.nbytes)
        return tokens

    @cached_property
    def _bin_path(self) -> Path:
        return bin_path(self.prefix)

    @property
    def sequence_lengths(self) -> np.ndarray:
        """Length of each sequence in tokens: int32 (sequences,), mapped read-only."""
        return _map(idx_path(self.prefix), np.dtype("<i4"), _HEADER.size, self.sequences)

    @property
    def sequence_pointers(self) -> np.ndarray:
        """First byte of each sequence in the .bin file: int64 (sequences,), mapped read-only."""
        return _map(idx_path(self.prefix), np.dtype("<i8"), _HEADER.size + 4 * self.sequences, self.sequences)

    @property
    def document_indices(self) -> np.ndarray:
        """Document d holds the sequences [d] to [d + 1]: int64 (documents + 1,), mapped read-only."""
        start = _HEADER.size + 12 * self.sequences
        return _map(idx_path(self.prefix), np.dtype("<i8"), start, self.documents + 1)

    def document_sequences(self, document: int) -> list[np.ndarray]:
        """The ids of each sequence of one document. Raises ValueError where the index points outside the files."""
        first, last = self.document_indices[document : document + 2].tolist()
        starts = self.sequence_pointers[first:last] // self.dtype.itemsize
        lengths = self.sequence_lengths[first:last].astype(np.int64)
        inside = (starts >= 0) & (lengths >= 0) & (lengths <= self.n_tokens) & (starts <= self.n_tokens - lengths)
        if not 0 <= first <= last <= self.sequences or not inside.all():
            raise ValueError(f"{idx_path(self.prefix)} is corrupt: document {document} is outside the files")
        return [self.tokens[start : start + length] for start, length in zip(starts, lengths, strict=True)]


@dataclass(frozen=True)
class Corpus:
    """The shards of one split. manifest: None for a Megatron dataset."""

    shards: list[TokenShard]
    manifest: Manifest | None

    @property
    def n_tokens(self) -> int:
        return sum(shard.n_tokens for shard in self.shards)


def open_corpus(path: str | Path, split: str = "train") -> Corpus:
    """Open a folder of build_shards.py, or a Megatron dataset by its prefix P (P.bin, P.idx), which has only "train".

    Costs one look at the manifest and at the size of each file. Raises ValueError where the folder is unfinished, a
    file is missing, or a size is not what the manifest or the index says.
    """
    path = Path(path)
    if not path.is_dir():
        shard = open_shard(path)
        return Corpus([shard] if split == "train" else [], None)
    manifest = read_manifest(path)
    entries = [entry for entry in manifest.shards if entry.split == split]
    problems = [problem for entry in entries for problem in misfits(path, entry)]
    if problems:
        raise ValueError("\n".join([*problems, f"restore the files or build {path} again"]))
    files = MappedFiles()
    shards = [
        TokenShard(path / e.prefix, np.dtype(e.dtype), e.tokens, e.sequences, e.documents, files) for e in entries
    ]
    return Corpus(shards, manifest)


def open_splits(path: str | Path) -> Corpus:
    """The training split of what --data.shards names, and the validation split looked at likewise. Raises as
    `open_corpus` does.
    """
    try:
        open_corpus(path, "validation")
        return open_corpus(path)
    except NoShards as error:
        if holds_text(Path(path)):
            text = f"--data.shards {path} holds text, no token shards: give --data.text {path} instead"
            raise NoShards(text) from error
        raise NoShards(f"--data.shards {error}") from error


def open_shard(prefix: str | Path) -> TokenShard:
    """Open one .bin/.idx pair by what its index says. Raises ValueError where the two do not belong together."""
    prefix = Path(prefix)
    if problem := missing_shards(prefix):
        raise NoShards(problem)
    with idx_path(prefix).open("rb") as file:
        head = file.read(_HEADER.size)
        magic, version, code, sequences, indices = _HEADER.unpack(head.ljust(_HEADER.size, b"\0"))
        if magic != _MAGIC or version != 1:
            raise ValueError(f"{idx_path(prefix)} is not an index of the MMIDIDX format, version 1")
        if code not in _DTYPES:
            raise ValueError(f"{idx_path(prefix)} says that ids have type code {code}; integers have {sorted(_DTYPES)}")
        dtype = np.dtype(_DTYPES[code]).newbyteorder("<")
        size, smallest = os.fstat(file.fileno()).st_size, _index_size(sequences, indices)
        if indices < 1:
            raise ValueError(f"{idx_path(prefix)} has no document index; it needs one at least, a 0")
        if size < smallest:
            raise ValueError(f"{idx_path(prefix)} is cut short: {size:,} bytes, where its counts need {smallest:,}")
        expected = 0
        if sequences:
            file.seek(_HEADER.size + 4 * (sequences - 1))
            (length,) = struct.unpack("<i", file.read(4))
            file.seek(_HEADER.size + 12 * sequences - 8)
            (pointer,) = struct.unpack("<q", file.read(8))
            expected = pointer + length * dtype.itemsize
    size = bin_path(prefix).stat().st_size
    if size != expected:
        raise ValueError(
            f"{bin_path(prefix)} has {size:,} bytes, but its index says {expected:,}: one of them is damaged"
        )
    if size % dtype.itemsize:
        raise ValueError(f"{bin_path(prefix)} has {size:,} bytes, which are no whole number of {dtype.name}")
    return TokenShard(prefix, dtype, expected // dtype.itemsize, sequences, indices - 1)


def write_index(path: Path, dtype: np.dtype, sequence_lengths: np.ndarray, document_ends: np.ndarray) -> None:
    """Write an index, durably. sequence_lengths: in tokens. document_ends: how many sequences end with each document.

    Both may be memory maps larger than memory.
    """
    with path.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, 1, _CODES[dtype], len(sequence_lengths), len(document_ends) + 1))
        for chunk in _chunks(sequence_lengths):
            file.write(chunk.astype("<i4").tobytes())
        position = 0
        for chunk in _chunks(sequence_lengths):
            ends = position + np.cumsum(chunk, dtype=np.int64) * dtype.itemsize
            file.write((ends - chunk.astype(np.int64) * dtype.itemsize).astype("<i8").tobytes())
            position = int(ends[-1])
        file.write(struct.pack("<q", 0))
        for chunk in _chunks(document_ends):
            file.write(chunk.astype("<i8").tobytes())
        file.flush()
        os.fsync(file.fileno())


def bin_path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".bin")


def idx_path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".idx")


def misfits(folder: Path, entry: ShardEntry) -> list[str]:
    """What is wrong with the files of a shard, by their sizes."""
    problems = []
    prefix = folder / entry.prefix
    for path, expected in ((bin_path(prefix), entry.bin_bytes), (idx_path(prefix), entry.idx_bytes)):
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            problems.append(f"{path} is missing")
            continue
        if size != expected:
            problems.append(f"{path} has {size:,} bytes, but the manifest says {expected:,}")
    if (needed := entry.tokens * np.dtype(entry.dtype).itemsize) != entry.bin_bytes:
        problems.append(
            f"{folder / MANIFEST} is corrupt: the {entry.tokens:,} tokens ({entry.dtype}) of {entry.prefix} take "
            f"{needed:,} bytes, but {bin_path(prefix).name} has {entry.bin_bytes:,}"
        )
    if (needed := _index_size(entry.sequences, entry.documents + 1)) > entry.idx_bytes:
        problems.append(
            f"{folder / MANIFEST} is corrupt: the {entry.sequences:,} sequences and {entry.documents:,} documents of "
            f"{entry.prefix} take {needed:,} bytes, but {idx_path(prefix).name} has {entry.idx_bytes:,}"
        )
    return problems


def _index_size(sequences: int, indices: int) -> int:
    """Bytes of an index; Megatron may add a mode per sequence at the end."""
    return _HEADER.size + 12 * sequences + 8 * indices


def _check_holds(path: Path, size: int, needed: int) -> None:
    if size < needed:
        raise ValueError(f"{path} has {size:,} bytes, where {needed:,} are needed: it was cut short or replaced")


def _map(path: Path, dtype: np.dtype, offset: int, count: int) -> np.ndarray:
    if not count:  # an empty file cannot be mapped
        return np.empty(0, dtype=dtype)
    _check_holds(path, path.stat().st_size, offset + count * dtype.itemsize)
    # As a plain array, of which slices are made in a quarter of the time.
    return np.asarray(np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,)))


def _raise_limit_of_files() -> int:
    """Let this process open as many files as it is allowed to, and return how many.

    The usual limit is 1,024 where far more are allowed: a full shuffle over more shards than may stay mapped would open
    and map one for nearly every window.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(array), _CHUNK):
        yield array[start : start + _CHUNK]
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            array.base.madvise(mmap.MADV_DONTNEED)  # what has been read of a map counts as memory of the process
