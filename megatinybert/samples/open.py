"""Shards opened and checked against the models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from megatinybert.config.data import DataConfig
from megatinybert.corpus.manifest import MANIFEST, read_manifest
from megatinybert.corpus.shards import Corpus, idx_path, open_corpus
from megatinybert.corpus.text_files import TextFile, files_of_shards
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.runtime.files import file_crc32
from megatinybert.samples.mixture import Mixture, exact_shares, interleave
from megatinybert.samples.order import Stream, keyed_hash
from megatinybert.samples.windows import TokenStream, Windows

# Of a corpus with no validation split, at most this share is held out of training.
_LARGEST_RESERVED_SHARE = 0.05

# What training draws from: one corpus, or several mixed by weight.
Samples = Windows | Mixture


@dataclass(frozen=True)
class HeldOut:
    """Windows that training never sees; the same ones in every run on these corpora.

    windows: of each corpus. corpora, sample_ids: where each held-out window is, int64 (N,). unused: tokens of each
    validation split that is shorter than a window, so that windows of the training split are held out instead; 0 where
    there is none.
    """

    windows: list[Windows]
    corpora: np.ndarray
    sample_ids: np.ndarray
    origin: str
    unused: list[int]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """rows: places in `sample_ids`, int64 (B,) -> the batch, as `Windows.batch_of` gives it."""
        ids, epochs = self.sample_ids[rows], np.zeros_like(rows)
        return interleave(
            self.corpora[rows], lambda corpus, places: self.windows[corpus].batch_of(ids[places], epochs[places])
        )


def open_windows(
    config: DataConfig, seed: int, special: SpecialIds, vocab_size: int, fingerprint: str, pair_probability: float
) -> tuple[Samples, HeldOut]:
    """Open the shards of a run, `config.shards`: (training windows, held-out windows).

    fingerprint: of the teacher's tokenizer. Held-out windows come from the validation split; of a corpus without one
    (a Megatron dataset, say) the last windows are kept out of training. Of a mixture, every corpus gives its share of
    them, and one at least.
    Raises ValueError listing every folder that does not fit the models.
    """
    assert config.shards is not None, "data.text is made into shards before"
    train = [open_corpus(path, "train") for path in config.shards]
    validation = [open_corpus(path, "validation") for path in config.shards]
    problems = [
        p for path, corpus in zip(config.shards, train, strict=True) for p in made_by_another(path, corpus, fingerprint)
    ]
    if problems:
        raise ValueError("\n".join(problems))

    def windows(corpora: Sequence[Corpus], seed: int, reserve: int) -> Windows:
        stream = TokenStream([shard for corpus in corpora for shard in corpus.shards])
        return Windows(
            stream,
            config.sequence_length,
            special,
            vocab_size,
            pair_probability,
            seed,
            config.shuffle_block,
            reserve,
        )

    if config.mixture is None:
        one = _split(windows, train, validation, seed, config.held_out_windows)
        return one.train, HeldOut([one.held_out], np.zeros_like(one.ids), one.ids, one.origin, one.unused)
    names, shares = config.text or config.shards, exact_shares(config.mixture)
    parts = []
    for number, (name, share) in enumerate(zip(names, shares, strict=True)):
        # Corpora of one size would be shuffled alike by one seed.
        own_seed = int(keyed_hash(seed, number, Stream.CORPUS) >> np.uint64(1))
        count = max(round(share * config.held_out_windows), 1)
        try:
            parts.append(_split(windows, [train[number]], [validation[number]], own_seed, count))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    mixture = Mixture([part.train for part in parts], shares, names, seed)
    return mixture, HeldOut(
        [part.held_out for part in parts],
        np.repeat(np.arange(len(parts)), [len(part.ids) for part in parts]),
        np.concatenate([part.ids for part in parts]),
        "; ".join(f"{len(part.ids):,} of {name}, {part.origin}" for name, part in zip(names, parts, strict=True)),
        [tokens for part in parts for tokens in part.unused],
    )


def data_identity(samples: Samples) -> str:
    """A short hash of what a run draws from: names, sizes and types of the shards, in order, and a mixture's shares."""
    content: object
    if isinstance(samples, Mixture):
        content = [list(map(str, samples.shares)), *map(_shards_of, samples.corpora)]
    else:
        content = _shards_of(samples)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def data_checksum(samples: Samples) -> str:
    """A short hash of the shards' content, by the checksums of their files in the manifest.

    Of a Megatron dataset, which has no manifest, it is of the index alone: the lengths of all sequences.
    """
    corpora = samples.corpora if isinstance(samples, Mixture) else [samples]
    content, manifests = [], {}
    for prefix in (shard.prefix for windows in corpora for shard in windows.stream.shards):
        folder = prefix.parent
        if folder not in manifests:
            has_one = (folder / MANIFEST).is_file()
            shards = read_manifest(folder).shards if has_one else []
            manifests[folder] = {entry.prefix: f"{entry.bin_sha256} {entry.idx_sha256}" for entry in shards}
        content.append(manifests[folder].get(prefix.name) or file_crc32(idx_path(prefix)))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def data_files(samples: Samples) -> list[TextFile]:
    """The files that the shards were made of, as far as their manifests say it."""
    corpora = samples.corpora if isinstance(samples, Mixture) else [samples]
    return files_of_shards(dict.fromkeys(shard.prefix.parent for each in corpora for shard in each.stream.shards))


@dataclass(frozen=True)
class _Split:
    """One corpus: windows to train on, and the held-out ones, as ids of `held_out`. unused: as of `HeldOut`."""

    train: Windows
    held_out: Windows
    ids: np.ndarray
    origin: str
    unused: list[int]


def _split(
    windows: Callable[[Sequence[Corpus], int, int], Windows],
    train: Sequence[Corpus],
    validation: Sequence[Corpus],
    seed: int,
    held_out: int,
) -> _Split:
    """windows: (corpora, seed, how many windows at the end are no samples) -> the windows of them all as one corpus."""
    everything = windows(train, seed, 0)
    tokens, length = sum(corpus.n_tokens for corpus in validation), everything.sequence_length
    if tokens >= length:
        kept_out = windows(validation, 0, 0)
        chosen = np.arange(min(held_out, kept_out.windows))
        return _Split(everything, kept_out, kept_out.order(chosen)[0], "validation split", [])
    reserve = min(held_out, max(int(everything.windows * _LARGEST_RESERVED_SHARE), 1))
    kept = windows(train, seed, reserve)
    ids = np.arange(kept.samples, kept.windows)
    lack = f"whose validation split has {tokens:,} tokens, fewer than a window of {length}"
    origin = f"last windows of the corpus, {lack if tokens else 'which has no validation split'}"
    return _Split(kept, kept, ids, origin, [tokens])


def _shards_of(windows: Windows) -> list[tuple[str, int, str]]:
    return [(shard.prefix.name, shard.n_tokens, str(shard.dtype)) for shard in windows.stream.shards]


def made_by_another(path: str, corpus: Corpus, fingerprint: str) -> list[str]:
    """What is wrong with shards of another tokenizer than that of this fingerprint."""
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
