"""Rows as flat arrays, against rows put together by hand, and the order of training by brute force."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatinybert.corpus.engines import auto_engine
from megatinybert.corpus.fast_engine import FastEngine
from megatinybert.corpus.reference_engine import Engine, ReferenceEngine
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids
from megatinybert.corpus.vocabulary import Vocabulary
from megatinybert.samples.order import SampleOrder
from megatinybert.tasks import rows as module
from megatinybert.tasks.reading.read import Row
from megatinybert.tasks.rows import BucketedRows, EncodedRows, count_unknown, encode_rows, many_cut, on_cut
from tests.helpers.toys import VOCABULARY

PAD, CLS, SEP = 0, 2, 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return load_tokenizer(folder)


def words(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def encode(tokenizer: Tokenizer, *rows: Row, max_length: int = 16, **more: bool) -> EncodedRows:
    return encode_rows(iter(rows), tokenizer, special_ids(tokenizer), max_length, **({"regression": False} | more))


def cut_as_bert_does(a: list[int], b: list[int], room: int) -> tuple[list[int], list[int]]:
    while len(a) + len(b) > room:
        if len(a) > len(b):
            a = a[:-1]
        else:
            b = b[:-1]
    return a, b


def test_rows_are_framed_padded_and_labelled(tokenizer: Tokenizer) -> None:
    rows = encode(tokenizer, Row(words(0, 1), None, 1), Row(words(2), words(3, 4), 0), Row(words(5), None, 2))
    batch = rows.batch(np.array([1, 0, 1]))
    assert batch["input_ids"].tolist() == [
        [CLS, 7, SEP, 8, 9, SEP],
        [CLS, 5, 6, SEP, PAD, PAD],
        [CLS, 7, SEP, 8, 9, SEP],
    ]
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1], [0] * 6, [0, 0, 0, 1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0], [1] * 6]
    assert batch["labels"].tolist() == [0, 1, 0]
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert rows.lengths.tolist() == [4, 6, 3] and len(rows) == 3 and rows.truncated == 0


@pytest.mark.skipif(find_spec("nanotoken") is None, reason="nanotoken is not installed: tests/requirements.txt")
def test_many_rows_are_encoded_alike_by_the_fast_engine(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(words(i % 7, i % 5) + " É[SEP]", words(i % 3) if i % 2 else None, 0) for i in range(5000)]
    opened: list[Engine] = []

    def auto(given: Tokenizer) -> Engine:
        opened.append(auto_engine(given))
        return opened[-1]

    monkeypatch.setattr(module, "auto_engine", auto)
    fast = encode(tokenizer, *rows)
    assert [type(engine) for engine in opened] == [FastEngine]
    monkeypatch.setattr(module, "auto_engine", ReferenceEngine)
    slow = encode(tokenizer, *rows)
    for name in ("tokens", "offsets", "first"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    encode(tokenizer, *rows[:10])
    assert len(opened) == 1, "a few rows do not repay proving it"


def test_only_a_batch_with_padding_has_a_mask_and_it_is_as_wide_as_its_longest_row(tokenizer: Tokenizer) -> None:
    rows = encode(tokenizer, *(Row(words(*range(count)), None, 0) for count in (3, 9, 3, 1)))
    assert "attention_mask" not in rows.batch(np.array([0, 2]))
    assert rows.batch(np.array([0, 3]))["input_ids"].shape == (2, 5)
    assert rows.batch(np.array([0, 3]))["attention_mask"].sum() == 5 + 3


@pytest.mark.parametrize("max_length", [5, 8, 9])
def test_the_longer_text_of_a_pair_is_cut_as_bert_does(tokenizer: Tokenizer, max_length: int) -> None:
    pairs = [(list(range(a)), list(range(50, 50 + b))) for a in range(1, 9) for b in range(9)]
    rows = encode(tokenizer, *(Row(words(*a), words(*b), 0) for a, b in pairs), max_length=max_length)
    cut = 0
    for number, (a, b) in enumerate(pairs):
        first, second = cut_as_bert_does(a, b, max_length - 3)
        expected = [CLS, *(5 + w for w in first), SEP, *(5 + w for w in second), SEP]
        batch = rows.batch(np.array([number]))
        assert batch["input_ids"][0].tolist() == expected, (a, b)
        assert batch["token_type_ids"][0].tolist() == [0] * (len(first) + 2) + [1] * (len(second) + 1)
        cut += (first, second) != (a, b)
    assert rows.truncated == cut > 0
    alone = encode(tokenizer, Row(words(*range(12)), None, 0), max_length=max_length)
    assert alone.batch(np.array([0]))["input_ids"][0].tolist() == [CLS, *range(5, 3 + max_length), SEP]
    assert alone.truncated == 1


def test_the_length_that_99_of_100_rows_need_is_told_where_many_are_cut(tokenizer: Tokenizer) -> None:
    rows = [Row(words(*range(20)), words(1), 0), *(Row(words(*range(number % 10)), None, 0) for number in range(99))]
    cut = encode(tokenizer, *rows, max_length=8)
    assert cut.enough == 11
    assert on_cut(cut, 8) == ", 30 of them cut to 8 tokens"
    told = "30 % of the rows are cut to 8 tokens, the rest of them unread: --task.max_length "
    assert many_cut(cut, 8, 32) == f"{told}11 would cut 1 % or less"
    assert many_cut(cut, 8, 10) == f"{told}may be up to 10"
    assert many_cut(cut, 8, 8) == ""
    few, none = encode(tokenizer, *rows, max_length=11), encode(tokenizer, *rows, max_length=24)
    assert (on_cut(few, 11), many_cut(few, 11, 32)) == (", 1 of them cut to 11 tokens", "")
    assert (on_cut(none, 24), many_cut(none, 24, 32)) == ("", "")


def test_a_model_without_segments_gets_token_type_0(tokenizer: Tokenizer) -> None:
    rows = encode(tokenizer, Row(words(0), words(1), 0), segments=False)
    assert rows.batch(np.array([0]))["token_type_ids"].tolist() == [[0] * 5]


def test_scores_are_float32_and_rows_of_a_test_file_have_no_labels(tokenizer: Tokenizer) -> None:
    scores = encode(tokenizer, Row("w1", None, 2.5), Row("w1", None, 3), regression=True)
    assert scores.batch(np.arange(2))["labels"].dtype == np.float32
    assert scores.batch(np.arange(2))["labels"].tolist() == [2.5, 3.0]
    assert "labels" not in encode(tokenizer, Row("w1", None, None)).batch(np.array([0]))
    with pytest.raises(ValueError, match="1 of 2 rows have no label"):
        encode(tokenizer, Row("w1", None, None), Row("w1", None, 0))
    with pytest.raises(ValueError, match="no row"):
        encode(tokenizer)


def test_the_number_of_rows_encoded_at_once_changes_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows() -> Iterator[Row]:
        return (Row(words(*range(n % 7 + 1)), words(*range(n % 3)) if n % 2 else None, n % 4) for n in range(20))

    whole = encode(tokenizer, *rows())
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 3)
    parts = encode(tokenizer, *rows())
    assert parts.identity == whole.identity
    assert (parts.offsets == whole.offsets).all() and (parts.tokens == whole.tokens).all()


def test_the_identity_tells_other_content_apart(tokenizer: Tokenizer) -> None:
    row = Row(words(0, 1), words(2), 1)
    others = [row._replace(text_a=words(0, 2)), row._replace(label=0), Row(words(0), words(1, 2), 1)]
    identities = {encode(tokenizer, each).identity for each in (row, *others)}
    identities |= {encode(tokenizer, row, row).identity, encode(tokenizer, row, segments=False).identity}
    assert len(identities) == 6
    assert encode(tokenizer, row).identity in identities


def test_unknown_tokens_are_counted_without_special_ones(tokenizer: Tokenizer) -> None:
    rows = encode(tokenizer, Row("w1 ζ w2", "η", 0), Row("w1", None, 0))
    special, unknown = special_ids(tokenizer), Vocabulary(tokenizer, "toy").unknown_id
    assert count_unknown(rows, special, unknown) == (2, 5)
    assert count_unknown(rows, special, None) == (0, 5)


def test_ids_beyond_16_bits_are_kept(tokenizer: Tokenizer) -> None:
    special = SpecialIds(cls=70_000, sep=70_001, pad=70_002, mask=70_003, vocab_size=70_004)
    rows = encode_rows(iter([Row("w1", None, 0), Row("w1 w2", None, 0)]), tokenizer, special, 16, regression=False)
    assert rows.batch(np.arange(2))["input_ids"].tolist() == [[70_000, 6, 70_001, 70_002], [70_000, 6, 7, 70_001]]


def made_up(lengths: np.ndarray) -> EncodedRows:
    """Rows of these lengths whose first token is the row's number."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.zeros(offsets[-1], dtype=np.uint32)
    tokens[offsets[:-1]] = np.arange(len(lengths))
    return EncodedRows(tokens, offsets, lengths.astype(np.int32), None, 0, segments=True, truncated=0)


def test_held_out_rows_that_are_longer_are_told() -> None:
    rows = made_up(np.full(40, 14))
    assert made_up(np.full(9, 17)).longer(rows) == made_up(np.full(9, 5)).longer(rows) == []
    (line,) = made_up(np.full(9, 24)).longer(rows)
    assert "development rows have 24 tokens in the mean, training rows 14" in line


def sentence_lengths(count: int, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).lognormal(3.0, 0.6, count)
    return np.clip(draws, 3, 128).astype(np.int64)


@pytest.mark.parametrize("samples", [1, 2, 7, 32, 100, 1001])
@pytest.mark.parametrize("global_batch", [1, 4, 32, 150])
def test_every_epoch_has_every_row_once(samples: int, global_batch: int) -> None:
    order = BucketedRows(made_up(sentence_lengths(samples)), global_batch, seed=3)
    assert order.samples == samples
    ids = order.ids(np.arange(5 * samples))
    for epoch in range(5):
        assert (np.sort(ids[epoch * samples : (epoch + 1) * samples]) == np.arange(samples)).all()


def test_a_row_depends_on_seed_and_position_alone() -> None:
    rows = made_up(sentence_lengths(500))
    whole = BucketedRows(rows, 8, seed=1).ids(np.arange(2000))
    positions = np.random.default_rng(0).permutation(2000)
    order = BucketedRows(rows, 8, seed=1)
    assert (order.ids(positions) == whole[positions]).all()
    assert [int(order.ids(np.array([p]))[0]) for p in (1999, 3, 500, 499)] == whole[[1999, 3, 500, 499]].tolist()
    assert (BucketedRows(rows, 8, seed=2).ids(np.arange(2000)) != whole).mean() > 0.9
    assert (whole[:500] != whole[500:1000]).mean() > 0.9, "every epoch has an order of its own"


def test_ranks_together_read_what_one_rank_reads() -> None:
    rows, micro, per_step = made_up(sentence_lengths(300)), 4, 16
    alone, pair = BucketedRows(rows, per_step, seed=5), [BucketedRows(rows, per_step, seed=5) for _ in range(2)]
    for step in range(40):
        micro_batches = [per_step * step + micro * index + np.arange(micro) for index in range(4)]
        by_two = [pair[index % 2].ids(positions) for index, positions in enumerate(micro_batches)]
        assert np.concatenate(by_two).tolist() == alone.ids(np.arange(per_step * step, per_step * (step + 1))).tolist()
        first = alone.batch(micro_batches[0])["input_ids"][:, 0]
        assert first.tolist() == by_two[0].tolist()


def padding_share(lengths: np.ndarray, rows_of_batches: np.ndarray) -> float:
    taken = lengths[rows_of_batches]
    return 1 - taken.sum() / (taken.max(axis=1) * taken.shape[1]).sum()


def test_batches_hold_rows_of_like_length_in_no_order_of_length() -> None:
    lengths, per_step, micro = sentence_lengths(32 * 400), 32, 16
    ids = BucketedRows(made_up(lengths), per_step, seed=0).ids(np.arange(len(lengths)))
    shuffled = SampleOrder(len(lengths), seed=0)(np.arange(len(lengths)))[0]
    random_share = padding_share(lengths, shuffled.reshape(-1, micro))
    share = padding_share(lengths, ids.reshape(-1, micro))
    assert random_share > 0.4
    assert share < 0.04
    assert padding_share(lengths, ids.reshape(-1, per_step)) < 0.06, "micro batches of a step are alike, too"
    means = lengths[ids].reshape(-1, per_step).mean(axis=1)
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.2
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2
    assert np.ptp(means.reshape(8, -1).mean(axis=1)) < 6, "every eighth of the epoch has short and long rows"


def test_small_tasks_gain_too() -> None:
    lengths = sentence_lengths(2490)  # as many as RTE has
    ids = BucketedRows(made_up(lengths), 32, seed=0).ids(np.arange(2400 // 16 * 16))
    assert padding_share(lengths, ids.reshape(-1, 16)) < 0.08
