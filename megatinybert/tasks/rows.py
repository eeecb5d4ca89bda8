"""Rows as token ids, in shuffled batches of similar lengths."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from megatinybert.corpus.engines import auto_engine
from megatinybert.corpus.reference_engine import Engine, ReferenceEngine
from megatinybert.corpus.texts import Texts
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.samples.order import SampleOrder, Stream, keyed_hash, permute
from megatinybert.tasks.reading.read import Row

_ROWS_AT_ONCE = 4096  # encoded together: enough to keep the tokenizer's threads busy
_MANY_CUT = 0.05  # share of a file's rows
_ENOUGH = 0.99  # share of the rows that a length is named for
_LONGER = 1.25  # times as many tokens, above which losses are not alike
_GROUP = 50  # global batches whose rows are sorted by length together


@dataclass(frozen=True)
class EncodedRows:
    """N rows, each [CLS] A [SEP] or [CLS] A [SEP] B [SEP], one after the other.

    tokens: uint16 or uint32 (T,), ids of all rows. offsets: int64 (N + 1,), where in them each row begins. first: int32
    (N,), tokens of the first segment, [CLS] A [SEP]. labels: int64 (N,) class indices, float32 (N,) scores, or None.
    pad: id that fills batches up. segments: whether B has token type 1. truncated: rows that were cut to fit. enough:
    tokens that 99 % of the rows have at most, uncut. answers: a teacher's logits, float32 (N, C), where they are kept.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    first: np.ndarray
    labels: np.ndarray | None
    pad: int
    segments: bool
    truncated: int
    enough: int = 0
    answers: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first)

    @property
    def mean_length(self) -> int:
        """Tokens of a row on the average, rounded up."""
        return math.ceil(self.lengths.mean())

    def longer(self, rows: EncodedRows) -> list[str]:
        """A line where these, which are held out, have more tokens than `rows`, which are trained on."""
        ours, theirs = (float(each.lengths.mean()) for each in (self, rows))
        if ours < _LONGER * theirs:
            return []
        return [
            f"development rows have {ours:.0f} tokens in the mean, training rows {theirs:.0f}: losses of longer rows "
            "are mostly higher, so held-out ones will be above those of training"
        ]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, special ones included: int64 (N,)."""
        return np.diff(self.offsets)

    @property
    def gold(self) -> np.ndarray:
        """`labels` of rows that have them."""
        assert self.labels is not None
        return self.labels

    @property
    def identity(self) -> str:
        """A short hash of everything a batch is made of, but for the answers, which follow from it and the teacher."""
        digest = hashlib.sha256(repr((len(self), self.pad, self.segments)).encode())
        for array in (self.tokens, self.offsets, self.first, *([] if self.labels is None else [self.labels])):
            digest.update(array.dtype.str.encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    def by_length(self, batch_tokens: int) -> Iterator[np.ndarray]:
        """The numbers of all rows, int64, in batches of like length, the longest first: each of up to `batch_tokens`
        tokens with padding, or of one longer row.
        """
        order = np.argsort(-self.lengths, kind="stable")
        done = 0
        while done < len(order):
            longest = int(self.lengths[order[done]])
            ids = order[done : done + max(1, batch_tokens // longest)]
            yield ids
            done += len(ids)

    def batch(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """ids: int64 (B,) -> "input_ids" and "token_type_ids", int64 (B, S), S being the longest of these rows.

        "attention_mask", int64 (B, S), is there only where a row is shorter; "labels", (B,), and
        "teacher_logits", (B, C), where the rows have them.
        """
        begins_B, lengths_B = self.offsets[ids], self.offsets[ids + 1] - self.offsets[ids]
        place_S = np.arange(lengths_B.max())
        real_BS = place_S < lengths_B[:, None]
        tokens_BS = self.tokens[np.minimum(begins_B[:, None] + place_S, len(self.tokens) - 1)]
        second_BS = real_BS & (place_S >= self.first[ids][:, None]) & self.segments
        batch = {
            "input_ids": np.where(real_BS, tokens_BS, self.pad).astype(np.int64),
            "token_type_ids": second_BS.astype(np.int64),
        }
        if not real_BS.all():
            batch["attention_mask"] = real_BS.astype(np.int64)
        if self.labels is not None:
            batch["labels"] = self.labels[ids]
        if self.answers is not None:
            batch["teacher_logits"] = self.answers[ids]
        return batch


def encode_rows(
    rows: Iterator[Row],
    tokenizer: Tokenizer,
    special: SpecialIds,
    max_length: int,
    regression: bool,
    segments: bool = True,
    progress: str | None = None,
) -> EncodedRows:
    """Encode all rows. tokenizer: of `load_tokenizer`.

    max_length: tokens of a row, special ones included, at least 5. Of a longer pair the longer text is cut, token by
    token from its end, B where both are equally long (as BERT does). segments: whether the model has two token types.
    progress: what a bar on stderr calls the work, shown where it takes more than a few seconds; None: no bar.
    Raises ValueError where there are no rows, or only some of them have a label, and EngineDifference (a ValueError)
    where the fast engine is wrong.
    """
    dtype = np.uint16 if special.vocab_size <= 2**16 else np.uint32
    parts: list[_Part] = []
    labels: list[np.ndarray] = []
    engine: Engine | None = None
    quiet = progress is None
    with progress_bar(None, "row", desc=progress, disable=quiet, unit_scale=True, delay=3, leave=False) as bar:
        while chunk := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            if engine is None:  # a few rows do not repay proving the fast one
                engine = auto_engine(tokenizer) if len(chunk) == _ROWS_AT_ONCE else ReferenceEngine(tokenizer)
            parts.append(_encode(chunk, engine, special, max_length, dtype))
            given = [row.label for row in chunk if row.label is not None]
            labels.append(np.asarray(given, dtype=np.float32 if regression else np.int64))
            bar.update(len(chunk))
    count, labelled = sum(len(part.first) for part in parts), sum(map(len, labels))
    if count == 0:
        raise ValueError("there is no row to encode")
    if labelled not in (0, count):
        raise ValueError(f"{count - labelled:,} of {count:,} rows have no label: give all of them one, or none")
    return EncodedRows(
        tokens=np.concatenate([part.tokens for part in parts]),
        offsets=_starts(np.concatenate([part.lengths for part in parts])),
        first=np.concatenate([part.first for part in parts]),
        labels=np.concatenate(labels) if labelled else None,
        pad=special.pad,
        segments=segments,
        truncated=sum(part.truncated for part in parts),
        enough=int(np.quantile(np.concatenate([part.whole for part in parts]), _ENOUGH, method="inverted_cdf")),
    )


def on_cut(rows: EncodedRows, max_length: int) -> str:
    """The end of a line on these rows: how many of them were cut to `max_length` tokens; "" where none was."""
    return f", {rows.truncated:,} of them cut to {max_length} tokens" if rows.truncated else ""


def many_cut(rows: EncodedRows, max_length: int, longest: int) -> str:
    """A warning where many rows were cut to `max_length` tokens, with the length that would do; "" where few were.

    longest: that --task.max_length may be.
    """
    share = rows.truncated / max(len(rows), 1)
    if share <= _MANY_CUT or longest <= max_length:
        return ""
    fits = f"{rows.enough} would cut 1 % or less" if rows.enough <= longest else f"may be up to {longest}"
    told = f"{100 * share:.0f} % of the rows are cut to {max_length} tokens, the rest of them unread"
    return f"{told}: --task.max_length {fits}"


def count_unknown(rows: EncodedRows, special: SpecialIds, unknown: int | None) -> tuple[int, int]:
    """(how many tokens are [UNK], how many there are), special ones not counted. unknown: its id, None for none."""
    text = np.isin(rows.tokens, (special.cls, special.sep), invert=True)
    return 0 if unknown is None else int((rows.tokens == unknown).sum()), int(text.sum())


class BucketedRows:
    """The rows of a task as samples of training, in global batches of like length, hence with little padding.

    Every epoch has an order of its own, a shuffle of all rows. Groups of up to 50 consecutive global batches of it are
    sorted by length, cut into batches again, and these are shuffled. A batch that runs over the end of an epoch is a
    group of its own, so an epoch's positions hold every row exactly once. All is a function of (seed, position).
    """

    def __init__(self, rows: EncodedRows, global_batch: int, seed: int) -> None:
        self.rows, self.global_batch, self.seed = rows, global_batch, seed
        self.samples = len(rows)
        self._order = SampleOrder(self.samples, seed)
        self._group: tuple[int, np.ndarray] | None = None  # the last one that was asked for

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """positions: int64 (B,) -> the rows there, as `EncodedRows.batch` gives them."""
        return self.rows.batch(self.ids(positions))

    def ids(self, positions: np.ndarray) -> np.ndarray:
        """positions: int64 (B,), any -> the row at each, int64 (B,)."""
        batches, places = np.divmod(np.asarray(positions, dtype=np.int64), self.global_batch)
        ids = np.empty_like(batches)
        for batch in np.unique(batches):
            here = batches == batch
            ids[here] = self._rows_of(int(batch))[places[here]]
        return ids

    def _rows_of(self, batch: int) -> np.ndarray:
        """The rows of a global batch: int64 (global_batch,), the shortest of an epoch first."""
        first, count = self._group_of(batch)
        if self._group is None or self._group[0] != first:
            positions = np.arange(first * self.global_batch, (first + count) * self.global_batch)
            ids, epochs = self._order(positions)
            lengths = self.rows.offsets[ids + 1] - self.rows.offsets[ids]
            by_length = ids[np.lexsort((lengths, epochs))].reshape(count, self.global_batch)  # within an epoch
            key = keyed_hash(self.seed, first, Stream.BUCKETS)[()]
            shuffled = permute(np.arange(count, dtype=np.uint64), np.uint64(count), key)
            self._group = first, by_length[shuffled.astype(np.int64)]
        return self._group[1][batch - first]

    def _group_of(self, batch: int) -> tuple[int, int]:
        """(first global batch, number of them) of the group that `batch` is in."""
        size = self.global_batch
        epoch, begin = divmod(batch * size, self.samples)
        if begin + size > self.samples:  # over the end of the epoch
            return batch, 1
        first = -(-epoch * self.samples // size)  # of the batches that lie in the epoch wholly
        count = (epoch + 1) * self.samples // size - first
        groups = -(-count // _GROUP)
        number = ((batch - first + 1) * groups - 1) // count
        start, end = (first + each * count // groups for each in (number, number + 1))
        return start, end - start


@dataclass(frozen=True)
class _Part:
    """Some rows, encoded. lengths, and whole before they were cut: int64 (n,)."""

    tokens: np.ndarray
    lengths: np.ndarray
    first: np.ndarray
    whole: np.ndarray
    truncated: int


def _encode(
    rows: Sequence[Row], engine: Engine, special: SpecialIds, max_length: int, dtype: type[np.unsignedinteger]
) -> _Part:
    pair = np.array([row.text_b is not None for row in rows])
    a_tokens, a_counts = _tokens(engine, [row.text_a for row in rows], dtype)
    b_tokens, b_counts = _tokens(engine, [row.text_b or "" for row in rows], dtype)
    room = max_length - 2 - pair
    # What is left when tokens go one by one: the shorter text stays whole up to half of the room.
    a_kept = np.minimum(a_counts, np.maximum(room - b_counts, (room + 1) // 2))
    b_kept = np.minimum(b_counts, np.maximum(room - a_counts, room // 2))
    first = a_kept + 2
    lengths = first + b_kept + pair
    begins = _starts(lengths)
    tokens = np.full(begins[-1], special.sep, dtype=dtype)
    tokens[begins[:-1]] = special.cls
    tokens[_places(begins[:-1] + 1, a_kept)] = a_tokens[_places(_starts(a_counts)[:-1], a_kept)]
    tokens[_places(begins[:-1] + first, b_kept)] = b_tokens[_places(_starts(b_counts)[:-1], b_kept)]
    whole = a_counts + b_counts + 2 + pair
    return _Part(tokens, lengths, first.astype(np.int32), whole, truncated=int((lengths < whole).sum()))


def _tokens(engine: Engine, texts: list[str], dtype: type[np.unsignedinteger]) -> tuple[np.ndarray, np.ndarray]:
    """(ids of all texts, one after the other; how many each has, int64)."""
    ids, counts = engine.encode(Texts.of(texts))
    return ids.astype(dtype), counts


def _starts(counts: np.ndarray) -> np.ndarray:
    """Where runs of these lengths begin, one after the other, and where the last ends: int64 (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _places(begins: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """begins[0], begins[0] + 1, ... (counts[0] of them), begins[1], ...: int64."""
    ends = np.cumsum(counts)
    return np.repeat(begins - (ends - counts), counts) + np.arange(int(counts.sum()))
