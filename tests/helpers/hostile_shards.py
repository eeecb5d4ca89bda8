"""A small corpus whose files tests damage, and readers of all of it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from megatinybert.corpus.manifest import MANIFEST, Manifest, ShardEntry, totals
from megatinybert.corpus.shards import bin_path, idx_path, open_corpus, open_shard
from megatinybert.corpus.verify import verify
from megatinybert.runtime.files import file_sha256
from tests.helpers.toys import write_dataset


def write_corpus(folder: Path) -> Path:
    """The shard "corpus" of 300 tokens (uint16) in 11 or so documents, with its manifest."""
    prefix = write_dataset(folder / "corpus", tokens=300)
    shard, of_bin, of_idx = open_shard(prefix), bin_path(prefix), idx_path(prefix)
    entry = ShardEntry(
        split="train",
        prefix=prefix.name,
        dtype="uint16",
        tokens=shard.n_tokens,
        sequences=shard.sequences,
        documents=shard.documents,
        bin_bytes=of_bin.stat().st_size,
        bin_sha256=file_sha256(of_bin),
        idx_bytes=of_idx.stat().st_size,
        idx_sha256=file_sha256(of_idx),
    )
    manifest = Manifest(
        created_by="a test",
        tokenizer_name="tokenizer",
        tokenizer_fingerprint="0" * 64,
        vocab_size=100,
        special_ids={"pad": 0, "cls": 2, "sep": 3, "mask": 4},
        options={"validation_fraction": 0.1},
        sources=[],
        shards=[entry],
        totals=totals([entry]),
        empty_documents=0,
        replaced_characters=0,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return prefix


def read_everything(path: Path) -> None:
    """Everything that is read of a folder of shards or of a dataset: tokens, documents, and what --verify looks at."""
    for shard in open_corpus(path).shards:
        np.asarray(shard.tokens, dtype=np.int64).sum()
        for document in range(shard.documents):
            shard.document_sequences(document)
    list(verify(path))


def damaged(whole: bytes, draw: np.random.Generator) -> bytes:
    """A copy with up to four changes: of a byte, a number of 8 bytes or a run of digits, a cut, or a repeated piece."""
    data = bytearray(whole)
    for _ in range(draw.integers(1, 5)):
        at = int(draw.integers(len(data))) if data else 0
        kind = draw.integers(6)
        if kind == 0 and data:
            data[at] = int(draw.integers(256))
        elif kind == 1:
            number = int(draw.choice([0, -1, 1 << 31, 1 << 40, -(1 << 63), (1 << 63) - 1]))
            data[at : at + 8] = struct.pack("<q", number)
        elif kind == 2:
            data[at : at + int(draw.integers(1, 4))] = str(int(draw.integers(-(1 << 40), 1 << 62))).encode()
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at : at + int(draw.integers(1, 64))]
        else:
            data[at : at + 1] = draw.choice([b"-", b"/", b".", b"\0", b'"', b"{", b"1e9", b"null", b"\xff"])
    return bytes(data)
