"""nanotoken, a fast reimplementation of BERT's tokenizer, checked against tokenizers wherever it is used.

It is young, so it is not trusted. Before it is used it has to give the ids of tokenizers for all of `hard_texts`.
Then, in every block, tokenizers encodes as well: excerpts of 128 characters, one for 262,144 bytes; and each text that
its ids do not spell, up to a share that limits what this costs where accents are dropped.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from megatinybert.corpus.hard_texts import hard_texts
from megatinybert.corpus.reference_engine import ReferenceEngine
from megatinybert.corpus.spelling import Spelling
from megatinybert.corpus.texts import Texts

PACKAGE = "nanotoken"
INSTALL = "pip install nanotoken==0.1.0"

_GAIN = "optional: the same ids, over 20 times as fast"
_CACHE_ENTRIES = 1 << 17  # at most 16 MiB in each process
_EXCERPT_CHARACTERS = 128
_SAMPLED = 1 << 18  # bytes for each excerpt
# What share of the bytes, at most, is encoded twice since the ids do not spell it. Of ASCII there is next to
# nothing: an accent cannot be the reason.
_DOUBTFUL_ASCII, _DOUBTFUL_OTHER = 1 / 64, 1 / 2048
_FEWEST_DOUBTFUL = 1024  # bytes of each kind, however short the texts
_SHOWN = 12  # ids in a message


class EngineUnavailable(ValueError):
    """nanotoken is not installed, or does not support the tokenizer."""


class EngineDifference(ValueError):
    """nanotoken and tokenizers give different ids for a text."""


class FastEngine:
    """nanotoken for a BERT tokenizer. See `Engine`.

    Raises EngineUnavailable where it is not installed or does not support the tokenizer, and EngineDifference where it
    fails the proof.
    """

    def __init__(self, tokenizer_json: str, tokenizer: Tokenizer) -> None:
        parts: dict[str, Any] = json.loads(tokenizer_json)
        problem = _unsupported(parts)
        if problem:
            raise EngineUnavailable(problem)
        self._fast = open_library(parts)
        self._tokenizer, self._reference = tokenizer, ReferenceEngine(tokenizer)
        self._spelling = Spelling(parts)
        self._prove(hard_texts(parts["model"]["vocab"]))

    @staticmethod
    def version() -> str:
        return f"{PACKAGE} {importlib.metadata.version(PACKAGE)}"

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`. Raises EngineDifference where a check finds wrong ids."""
        if not len(texts):
            return self._reference.encode(texts)
        ids, ends = self._encode(texts)
        self._check_sample(texts, ids, ends)
        self._check_spelling(texts, ids, ends)
        return ids, np.diff(ends)

    def _encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """(ids, uint32; where those of each text begin and the last end, int64). In this thread: a worker is one
        core.
        """
        ids, ends = self._fast.encode_batch(texts.all(), add_special_tokens=False, parallel=False)
        if len(ends) != len(texts) + 1 or ends[-1] != len(ids) or (np.diff(ends) < 0).any():
            raise EngineDifference(f"{PACKAGE} gave no ids for some of {len(texts):,} texts")
        return ids, ends

    def _prove(self, texts: list[str]) -> None:
        proof = Texts.of(texts)
        ids, ends = self._encode(proof)
        self._compare(proof, ids, ends, range(len(texts)))

    def _check_sample(self, texts: Texts, ids: np.ndarray, ends: np.ndarray) -> None:
        """Compare heads and tails of some texts, which ones depends on the texts alone."""
        size = int(texts.sizes.sum())
        draw = np.random.default_rng((size, len(texts)))
        chosen = draw.integers(len(texts), size=-(-size // _SAMPLED)).tolist()
        from_end = draw.integers(2, size=len(chosen)).tolist()
        excerpts = [_excerpt(texts, number, bool(end)) for number, end in zip(chosen, from_end, strict=True)]
        heads_and_tails = [text for text, _ in excerpts]
        encodings: list[Encoding] = self._tokenizer.encode_batch(heads_and_tails, add_special_tokens=False)
        for number, end, (_, cut), encoding in zip(chosen, from_end, excerpts, encodings, strict=True):
            expected = _without_cut_word(encoding, bool(end)) if cut else encoding.ids
            found = ids[ends[number] : ends[number + 1]]
            if cut:
                found = found[len(found) - min(len(found), len(expected)) :] if end else found[: len(expected)]
            if found.tolist() != expected:
                self._compare(texts, ids, ends, [number])

    def _check_spelling(self, texts: Texts, ids: np.ndarray, ends: np.ndarray) -> None:
        """Compare texts that their ids do not spell."""
        size = int(texts.sizes.sum())
        shares = {True: _DOUBTFUL_ASCII, False: _DOUBTFUL_OTHER}  # by whether a text is ASCII
        room = {in_ascii: max(_FEWEST_DOUBTFUL, int(size * share)) for in_ascii, share in shares.items()}
        compared = []
        for number in self._spelling.doubtful(texts, ids, ends).tolist():
            text = texts.text(number)
            in_ascii = text.isascii()
            if room[in_ascii] > 0:  # one text at least, however long
                compared.append(number)
                room[in_ascii] -= len(text)
        self._compare(texts, ids, ends, compared)

    def _compare(self, texts: Texts, ids: np.ndarray, ends: np.ndarray, numbers: Sequence[int]) -> None:
        """Raise EngineDifference where the ids of one of these texts are not those of tokenizers."""
        expected, counts = self._reference.encode(texts.select(numbers))
        begins = np.cumsum(counts) - counts
        for number, begin, count in zip(numbers, begins.tolist(), counts.tolist(), strict=True):
            found, right = ids[ends[number] : ends[number + 1]], expected[begin : begin + count]
            if not np.array_equal(found, right):
                raise EngineDifference(_difference(texts.text(number).decode(), found.tolist(), right.tolist()))


def open_library(parts: dict[str, Any]) -> Any:
    """nanotoken's own tokenizer. parts: the JSON of ours, read. Raises EngineUnavailable."""
    if find_spec(PACKAGE) is None:
        raise EngineUnavailable(f"{PACKAGE} is not installed: {INSTALL} ({_GAIN})")
    import nanotoken

    nanotoken.set_cache_entries(_CACHE_ENTRIES)
    # Text that spells a special token is ordinary text here; only the vocabulary knows these tokens.
    parts = parts | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    try:
        return nanotoken.WordPieceTokenizer.from_json(json.dumps(parts))
    except ValueError as error:
        raise EngineUnavailable(f"{PACKAGE} does not support this tokenizer ({error})") from error


def _unsupported(parts: dict[str, Any]) -> str | None:
    """What of a tokenizer is not BERT's."""
    wanted = {"model": "WordPiece", "normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer"}
    for part, kind in wanted.items():
        found = (parts[part] or {}).get("type")
        if found != kind:
            return f"{PACKAGE} is used for BERT's tokenizers alone, and the {part} is {found}, not {kind}"
    ordinary = [token["content"] for token in parts["added_tokens"] if not token["special"]]
    if ordinary:
        return f"{PACKAGE} is not used where a tokenizer has added tokens that are not special ({ordinary[0]})"
    return None


def _excerpt(texts: Texts, number: int, from_end: bool) -> tuple[str, bool]:
    """(The first or last characters of a text; whether it was cut)."""
    data = texts.text(number)
    longest = 4 * _EXCERPT_CHARACTERS  # bytes
    part = data[-longest:] if from_end else data[:longest]
    text = part.decode(errors="ignore")  # it may begin or end within a character
    excerpt = text[-_EXCERPT_CHARACTERS:] if from_end else text[:_EXCERPT_CHARACTERS]
    return excerpt, len(excerpt) < len(text) or len(part) < len(data)


def _without_cut_word(encoding: Encoding, from_end: bool) -> list[int]:
    """The ids of an excerpt of a longer text but for the word where it was cut, which may go on beyond."""
    words = encoding.word_ids
    if not words:
        return []
    cut = words[0] if from_end else words[-1]
    return [number for number, word in zip(encoding.ids, words, strict=True) if word != cut]


def _difference(text: str, found: list[int], expected: list[int]) -> str:
    first = next((i for i, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), 0)
    first = max(0, first - _SHOWN // 2)
    place = f" from id {first:,} on" if first else ""
    shown = ascii(text if len(text) <= 300 else text[:300] + "...")
    return (
        f"{FastEngine.version()} and tokenizers give different ids for the text {shown}{place}: "
        f"{found[first : first + _SHOWN]} and {expected[first : first + _SHOWN]}. "
        f"Where {PACKAGE} is not installed, tokenizers is used"
    )
