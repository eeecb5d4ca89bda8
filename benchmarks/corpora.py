"""Corpora of random tokens, as data_prep/build_shards.py would leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from megatinybert.corpus.manifest import MANIFEST, Manifest, ShardEntry, totals
from megatinybert.corpus.shards import bin_path, idx_path, write_index
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.runtime.files import file_sha256

# As in BERT's vocabulary; the values do not matter.
SPECIAL = SpecialIds(cls=101, sep=102, pad=0, mask=103, vocab_size=30522)
_DTYPE = np.dtype("<u2")
_SEQUENCE = 100  # tokens


def write_corpus_folder(folder: Path, tokens: int, shards: int = 1, links: bool = False) -> Path:
    """Write a training split of so many shards of so many tokens each.

    links: the shards are names of one pair of files, so they take the disk of one and the page cache of one.
    """
    folder.mkdir()
    draw = np.random.default_rng(0)
    entries: list[ShardEntry] = []
    for number in range(shards):
        prefix = folder / f"train-{number:05d}"
        if links and entries:
            for name in (bin_path, idx_path):
                name(prefix).hardlink_to(name(folder / entries[0].prefix))
            entries.append(entries[0].model_copy(update={"prefix": prefix.name}))
            continue
        draw.integers(1000, SPECIAL.vocab_size, tokens, dtype=_DTYPE).tofile(bin_path(prefix))
        lengths = np.full(-(-tokens // _SEQUENCE), _SEQUENCE)
        lengths[-1] -= lengths.sum() - tokens
        write_index(idx_path(prefix), _DTYPE, lengths, np.arange(1, len(lengths) + 1))
        entries.append(
            ShardEntry(
                split="train",
                prefix=prefix.name,
                dtype=_DTYPE.name,
                tokens=tokens,
                sequences=len(lengths),
                documents=len(lengths),
                bin_bytes=bin_path(prefix).stat().st_size,
                bin_sha256=file_sha256(bin_path(prefix)),
                idx_bytes=idx_path(prefix).stat().st_size,
                idx_sha256=file_sha256(idx_path(prefix)),
            )
        )
    manifest = Manifest(
        created_by="benchmarks",
        tokenizer_name="random",
        tokenizer_fingerprint="",
        vocab_size=SPECIAL.vocab_size,
        special_ids={name: getattr(SPECIAL, name) for name in ("cls", "sep", "pad", "mask")},
        options={},
        sources=[],
        shards=entries,
        totals=totals(entries),
        empty_documents=0,
        replaced_characters=0,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder
