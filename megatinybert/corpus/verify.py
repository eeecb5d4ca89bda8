"""Whether shards are what was written: every byte of a folder, the sense of a dataset's index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from megatinybert.corpus.manifest import MANIFEST, read_manifest
from megatinybert.corpus.shards import TokenShard, bin_path, idx_path, misfits, open_shard
from megatinybert.runtime.files import file_sha256


def verify(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Check every file of a folder or of a Megatron prefix: yields (prefix of the shard, what is wrong with it).

    Of a folder every checksum is computed again; a Megatron dataset has none, so its index is checked for sense.
    """
    path = Path(path)
    if not path.is_dir():
        yield path.name, _senseless(open_shard(path))
        return
    for entry in read_manifest(path).shards:
        problems = misfits(path, entry)
        if not problems:
            prefix = path / entry.prefix
            for file, checksum in (
                (bin_path(prefix), entry.bin_sha256),
                (idx_path(prefix), entry.idx_sha256),
            ):
                if file_sha256(file) != checksum:
                    problems.append(f"{file} is corrupt: its checksum is not the manifest's")
        if not problems:
            shard = open_shard(path / entry.prefix)
            counts = (shard.n_tokens, shard.sequences, shard.documents, shard.dtype.name)
            if counts != (entry.tokens, entry.sequences, entry.documents, entry.dtype):
                problems.append(
                    f"{path / MANIFEST} is corrupt: its counts of {entry.prefix} are not those of the index"
                )
        yield entry.prefix, problems


def _senseless(shard: TokenShard) -> list[str]:
    lengths = shard.sequence_lengths.astype(np.int64)
    documents = shard.document_indices
    problems = []
    starts = np.cumsum(lengths) - lengths
    if (lengths < 0).any() or not np.array_equal(shard.sequence_pointers, starts * shard.dtype.itemsize):
        problems.append(f"{idx_path(shard.prefix)} is corrupt: its sequences do not follow one another")
    if documents[0] != 0 or documents[-1] > shard.sequences or (np.diff(documents) < 0).any():
        problems.append(f"{idx_path(shard.prefix)} is corrupt: its document indices are not in order")
    return problems
