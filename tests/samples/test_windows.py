from pathlib import Path

import numpy as np
import pytest

from megatinybert.corpus.shards import TokenShard, bin_path
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.samples.windows import TokenStream, Windows

SPECIAL = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=100_000)


def stream(folder: Path, *sizes: int) -> TokenStream:
    """Shards of the ids 10, 11, 12, ... in one run, so that every token tells its place."""
    shards, at = [], 10
    for number, size in enumerate(sizes):
        prefix = folder / f"shard-{number}"
        bin_path(prefix).write_bytes(np.arange(at, at + size, dtype=np.int32).tobytes())
        shards.append(TokenShard(prefix, np.dtype(np.int32), size, 1, 1))
        at += size
    return TokenStream(shards)


def windows(source: TokenStream, length: int = 16, pairs: float = 0.0, **more: int) -> Windows:
    return Windows(source, length, SPECIAL, 100_000, pairs, seed=1, **more)


def test_rows_run_over_the_ends_of_shards(tmp_path: Path) -> None:
    source = stream(tmp_path, 7, 1, 0, 2, 40)
    begins = np.array([0, 3, 5, 6, 7, 10, 38])
    rows = source.rows(begins, 12)
    assert (rows == 10 + begins[:, None] + np.arange(12)).all()


def test_a_whole_window_is_filled_and_no_token_is_lost(tmp_path: Path) -> None:
    data = windows(stream(tmp_path, 100, 57))
    batch = data.batch(np.arange(data.samples))
    assert batch["input_ids"].shape == (data.samples, 16) and batch["input_ids"].dtype == np.int64
    assert (batch["input_ids"][:, 0] == 2).all() and (batch["input_ids"][:, -1] == 3).all()
    assert set(np.unique(batch["input_ids"][:, 1:-1])) == set(range(10, 167))
    assert data.samples == -(-157 // 14)
    assert (batch["token_type_ids"] == 0).all()


def test_pairs(tmp_path: Path) -> None:
    data = windows(stream(tmp_path, 4001), pairs=0.5)
    batch = data.batch(np.arange(data.samples))
    ids, types = batch["input_ids"], batch["token_type_ids"]
    paired = types.any(axis=1)
    assert 0.4 < paired.mean() < 0.6
    assert set(np.unique(ids[:, 1:-1])) - {3} == set(range(10, 4011)), "every token is seen"
    lengths = set()
    for row, kind in zip(ids[paired], types[paired], strict=True):
        inner = int(np.flatnonzero(row == 3)[0])
        assert row[0] == 2 and row[-1] == 3 and (row == 3).sum() == 2
        tokens = np.delete(row, [0, inner, len(row) - 1])
        assert (np.diff(tokens) == 1).all(), "A and B follow one another in the text"
        assert (kind == (np.arange(16) > inner)).all()
        lengths.add(inner - 1)
    assert lengths == set(range(1, 13)), "every split from one token to all but one"


def test_splits_depend_on_sample_and_epoch_alone(tmp_path: Path) -> None:
    data = windows(stream(tmp_path, 4001), pairs=0.5)
    whole = data.batch(np.arange(60))
    for part in (np.arange(20, 30), np.array([59, 3])):
        assert all((data.batch(part)[key] == whole[key][part]).all() for key in whole)
    ids = np.arange(data.samples)
    first, second = (data.batch_of(ids, np.full_like(ids, epoch))["token_type_ids"] for epoch in (0, 1))
    assert (first != second).any()


def test_reserved_windows_are_no_samples(tmp_path: Path) -> None:
    source = stream(tmp_path, 1400)
    data = windows(source, reserve=10)
    assert data.samples == 90
    seen = data.batch(np.arange(900))["input_ids"]
    assert seen[:, 1:-1].max() == 10 + 90 * 14 - 1


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--data.sequence_length 16 needs at least 14 tokens, but the corpus has 13"):
        windows(stream(tmp_path, 13))
    assert windows(stream(tmp_path, 14)).samples == 1


def test_an_id_outside_the_vocabulary_is_named(tmp_path: Path) -> None:
    data = Windows(stream(tmp_path, 100), 16, SPECIAL, 60, 0.0, seed=0)
    with pytest.raises(ValueError, match=r"token id \d+ \(window \d+\), outside .* vocabulary of 60"):
        data.batch(np.arange(data.samples))
