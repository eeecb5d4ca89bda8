"""The data a run reads: shards opened and checked against the models, as training windows and held-out windows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from megatinybert.data.shards import Corpus, open_corpus
from megatinybert.data.tokenizer import SpecialIds
from megatinybert.data.windows import TokenStream, Windows
from megatinybert.schema import DataConfig

# Of a corpus with no validation split, at most this share is held out of training.
_LARGEST_RESERVED_SHARE = 0.05


@dataclass(frozen=True)
class HeldOut:
    """Windows that training never sees; the same ones in every run on this corpus."""

    windows: Windows
    sample_ids: np.ndarray
    origin: str

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """rows: places in `sample_ids`, int64 (B,) -> the batch, as `Windows.batch_of` gives it."""
        return self.windows.batch_of(self.sample_ids[rows], np.zeros_like(rows))


def open_windows(
    config: DataConfig, seed: int, special: SpecialIds, vocab_size: int, fingerprint: str, pair_probability: float
) -> tuple[Windows, HeldOut]:
    """Open the shards of a run: (training windows, held-out windows).

    fingerprint: of the teacher's tokenizer. Held-out windows come from the validation split; of a corpus without one
    (a Megatron dataset, say) the last windows are kept out of training.
    Raises ValueError listing every folder that does not fit the models.
    """
    train = [open_corpus(path, "train") for path in config.shards]
    problems = [
        p
        for path, corpus in zip(config.shards, train, strict=True)
        for p in _misfits(path, corpus, special, fingerprint)
    ]
    if problems:
        raise ValueError("\n".join(problems))

    def windows(corpora: list[Corpus], seed: int, reserve: int = 0) -> Windows:
        stream = TokenStream([shard for corpus in corpora for shard in corpus.shards])
        return Windows(
            stream,
            config.sequence_length,
            special,
            vocab_size,
            pair_probability,
            seed,
            config.shuffle_block,
            config.shuffle_group,
            reserve,
        )

    validation = [open_corpus(path, "validation") for path in config.shards]
    if sum(corpus.n_tokens for corpus in validation) >= config.sequence_length:
        held_out = windows(validation, seed=0)
        chosen = np.arange(min(config.held_out_windows, held_out.windows))
        return windows(train, seed), HeldOut(held_out, held_out.order(chosen)[0], "validation split")
    everything = windows(train, seed)
    reserve = min(config.held_out_windows, max(int(everything.windows * _LARGEST_RESERVED_SHARE), 1))
    kept = windows(train, seed, reserve)
    ids = np.arange(kept.samples, kept.windows)
    return kept, HeldOut(kept, ids, "last windows of the corpus, which has no validation split")


def data_identity(windows: Windows) -> str:
    """A short hash of what the stream is made of: names, sizes and types of the shards, in order."""
    shards = [(shard.prefix.name, shard.n_tokens, str(shard.dtype)) for shard in windows.stream.shards]
    return hashlib.sha256(json.dumps(shards).encode()).hexdigest()[:16]


def _misfits(path: str, corpus: Corpus, special: SpecialIds, fingerprint: str) -> list[str]:
    manifest = corpus.manifest
    if manifest is None:  # a Megatron dataset says nothing of its tokenizer; Windows checks ids as they are read
        return []
    if manifest.tokenizer_fingerprint != fingerprint:
        return [
            f"--data.shards {path} was made with the tokenizer {manifest.tokenizer_name} (fingerprint "
            f"{manifest.tokenizer_fingerprint[:12]}), but the teacher reads with {fingerprint[:12]}: build the shards "
            "with the teacher's tokenizer, or name another with --teacher.tokenizer"
        ]
    return []
