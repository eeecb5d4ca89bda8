"""Writes one split of a corpus, resumable from its last commit.

A shard grows in three append-only files named `.partial`: ids, sequence lengths and document ends. What a
commit records is how much of them counts, so resuming cuts off what came later. A shard gets its index and
its final names when it is whole, after the commit that says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from megatinybert.corpus.encode import Documents
from megatinybert.corpus.manifest import Record, ShardEntry
from megatinybert.corpus.shards import bin_path, idx_path, write_index
from megatinybert.runtime.files import file_sha256, sync_folder

_LENGTH = np.dtype("<i4")
_END = np.dtype("<i8")
_WRITE_BACK_BYTES = 1 << 22


class OpenShard(Record):
    """How much of a growing shard counts.

    index: number of the shard in its split. sequences: of the lengths that are written. held_length: length
    of the last sequence of a long document that is still open, not written yet since [SEP] may join it (0:
    none). open_tokens, open_sequences: how many of those written are of that document.
    """

    index: int = 0
    tokens: int = 0
    sequences: int = 0
    documents: int = 0
    held_length: int = 0
    open_tokens: int = 0
    open_sequences: int = 0


class ShardWriter:
    """Appends documents to the shards of one split.

    A shard ends with the first document that brings it to `shard_tokens`. `finished` lists the shards that
    are whole but not published yet. state: where to resume, from `state()` of an earlier run.
    """

    def __init__(
        self,
        folder: Path,
        split: Literal["train", "validation"],
        dtype: np.dtype,
        sep: int,
        shard_tokens: int,
        state: OpenShard,
    ) -> None:
        self._folder, self._split, self._dtype, self._sep, self._limit = (
            folder,
            split,
            dtype,
            sep,
            shard_tokens,
        )
        self.finished: list[ShardEntry] = []
        self._index = state.index
        self._tokens, self._sequences, self._documents = state.tokens, state.sequences, state.documents
        self._held = state.held_length
        self._open_tokens, self._open_sequences = state.open_tokens, state.open_sequences
        self._files: list[BinaryIO] = []
        self._written_back = 0  # bytes of the ids that the system was asked to write to disk
        self._digest = hashlib.sha256()  # of the ids, as they are written: at the end it would keep workers waiting
        if state.tokens:
            self._reopen()

    def state(self) -> OpenShard:
        """What is written, for a commit: call `flush` first."""
        return OpenShard(
            index=self._index,
            tokens=self._tokens,
            sequences=self._sequences,
            documents=self._documents,
            held_length=self._held,
            open_tokens=self._open_tokens,
            open_sequences=self._open_sequences,
        )

    def write(self, documents: Documents) -> None:
        """Append whole documents, beginning new shards where they are due."""
        sequence_ends = np.cumsum(documents.document_lengths)
        token_ends = np.cumsum(documents.sequence_lengths, dtype=np.int64)[sequence_ends - 1]
        first = 0
        while first < len(sequence_ends):
            sequence, token = (int(ends[first - 1]) if first else 0 for ends in (sequence_ends, token_ends))
            # The document that reaches the limit is the last one of this shard.
            last = min(int(np.searchsorted(token_ends, token + self._limit - self._tokens)) + 1, len(token_ends))
            before = self._sequences
            self._append(
                documents.tokens[token : token_ends[last - 1]],
                documents.sequence_lengths[sequence : sequence_ends[last - 1]],
            )
            self._append_ends(before + sequence_ends[first:last] - sequence)
            self._end_shard_if_full()
            first = last

    def write_part(self, documents: Documents) -> None:
        """Append a part of a long document, which stays open."""
        lengths = documents.sequence_lengths
        if self._held:
            lengths = np.concatenate([np.array([self._held], dtype=lengths.dtype), lengths])
        self._append(documents.tokens, lengths[:-1])
        self._held = int(lengths[-1])
        self._open_tokens += len(documents.tokens)
        self._open_sequences += len(lengths) - 1

    def close_document(self) -> bool:
        """End the open document with [SEP]. False where it gave no tokens: then it is none."""
        if not self._held:
            return False
        self._append(np.array([self._sep], dtype=self._dtype), np.array([self._held + 1]))
        self._held = self._open_tokens = self._open_sequences = 0
        self._append_ends(np.array([self._sequences]))
        self._end_shard_if_full()
        return True

    def drop_document(self) -> None:
        """Take the open document away again."""
        self._tokens -= self._open_tokens
        self._sequences -= self._open_sequences
        self._held = self._open_tokens = self._open_sequences = 0
        for file, (_, size) in zip(self._files, self._parts(), strict=True):
            file.truncate(size)
            file.seek(size)
        self._digest_again()

    def flush(self) -> None:
        """Make what was written durable."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())

    def finish(self) -> None:
        """End the last shard."""
        if self._tokens:
            self._end_shard()
            return
        self.close()
        for path, _ in self._parts():  # of a document that was dropped
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files, also after an error (a full disk, say), whatever is still in their buffers."""
        for file in self._files:
            with contextlib.suppress(OSError):  # flushing failed again: only what a commit recorded counts
                file.close()
        self._files = []

    @property
    def _prefix(self) -> Path:
        return self._folder / f"{self._split}-{self._index:05d}"

    def _parts(self) -> list[tuple[Path, int]]:
        """The growing files, and how many bytes of each count."""
        return [
            (partial(bin_path(self._prefix)), self._tokens * self._dtype.itemsize),
            (partial(self._prefix.with_suffix(".lengths")), self._sequences * _LENGTH.itemsize),
            (partial(self._prefix.with_suffix(".documents")), self._documents * _END.itemsize),
        ]

    def _append(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        if not self._files:
            self._files = [path.open("wb") for path, _ in self._parts()]
            self._written_back, self._digest = 0, hashlib.sha256()
        data = tokens.astype(self._dtype, copy=False).tobytes()
        self._files[0].write(data)
        self._digest.update(data)
        self._files[1].write(lengths.astype(_LENGTH).tobytes())
        self._tokens += len(tokens)
        self._sequences += len(lengths)
        self._write_back()

    def _write_back(self) -> None:
        """Have the system begin to write to disk, so that `flush` has less to wait for."""
        written = self._tokens * self._dtype.itemsize
        size = written - self._written_back
        if size >= _WRITE_BACK_BYTES and hasattr(os, "posix_fadvise"):
            self._files[0].flush()
            os.posix_fadvise(self._files[0].fileno(), self._written_back, size, os.POSIX_FADV_DONTNEED)
            self._written_back = written

    def _append_ends(self, ends: np.ndarray) -> None:
        self._files[2].write(ends.astype(_END).tobytes())
        self._documents += len(ends)

    def _reopen(self) -> None:
        for path, size in self._parts():
            if not path.is_file() or path.stat().st_size < size:
                raise ValueError(f"{path} is missing or cut short: delete {self._folder} and start over")
            file = path.open("r+b")
            self._files.append(file)
            file.truncate(size)
            file.seek(size)
        self._digest_again()

    def _digest_again(self) -> None:
        """Of what a resumed build finds, or a document was cut off from."""
        if self._files:
            with self._parts()[0][0].open("rb") as file:
                self._digest = hashlib.file_digest(file, "sha256")

    def _end_shard_if_full(self) -> None:
        if self._tokens >= self._limit:
            self._end_shard()

    def _end_shard(self) -> None:
        self.flush()
        self.close()
        (_, bin_bytes), (lengths_path, _), (ends_path, _) = self._parts()
        index_path = partial(idx_path(self._prefix))
        lengths = np.memmap(lengths_path, dtype=_LENGTH, mode="r")
        write_index(index_path, self._dtype, lengths, np.memmap(ends_path, dtype=_END, mode="r"))
        self.finished.append(
            ShardEntry(
                split=self._split,
                prefix=self._prefix.name,
                dtype=self._dtype.name,
                tokens=self._tokens,
                sequences=self._sequences,
                documents=self._documents,
                bin_bytes=bin_bytes,
                bin_sha256=self._digest.hexdigest(),
                idx_bytes=index_path.stat().st_size,
                idx_sha256=file_sha256(index_path),
            )
        )
        self._index += 1
        self._tokens = self._sequences = self._documents = 0


def publish(folder: Path, entries: Iterable[ShardEntry]) -> None:
    """Give whole shards their final names. May be repeated: what has its name already is left alone.

    Raises ValueError where a shard is missing or not of its size.
    """
    for entry in entries:
        prefix = folder / entry.prefix
        for path, size in ((bin_path(prefix), entry.bin_bytes), (idx_path(prefix), entry.idx_bytes)):
            if partial(path).is_file():
                os.replace(partial(path), path)
            if not path.is_file() or path.stat().st_size != size:
                raise ValueError(f"{path} is missing or damaged: delete {folder} and start over")
        for suffix in (".lengths", ".documents"):
            partial(prefix.with_suffix(suffix)).unlink(missing_ok=True)
    sync_folder(folder)


def partial(path: Path) -> Path:
    """The name of a file while it is not whole."""
    return path.with_name(path.name + ".partial")
