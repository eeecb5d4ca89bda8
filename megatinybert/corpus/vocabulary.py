"""Whether a tokenizer suits a text: what spoils a corpus without an error."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from megatinybert.corpus.texts import Texts

if TYPE_CHECKING:  # else whoever reads a manifest would import it
    import numpy as np
    from tokenizers import Tokenizer

MOST_UNKNOWN = 0.01  # of the tokens of a text: above it a warning
_FAR_TOO_MANY_UNKNOWN = 0.5  # above it nothing is trained on the text
_OTHER_LANGUAGE = 0.1  # above it the text is of another language than the vocabulary; below it lacks some characters
_SHOWN_CHARACTERS = 8
_CAPITALS = 0.05  # of a lower-casing tokenizer's vocabulary: published ones have none, a cased one a third
_KNOWN_SHARE, _KNOWN_TOKENS = 0.01, 500  # of a script; either is enough: in a multilingual vocabulary shares are small
_MOST, _NEXT_TO_NONE = 0.5, 0.01
_SAMPLED_LINES, _SAMPLED_BYTES = 32, 100
# In these one letter is a word, or most of one; elsewhere vocabularies have the letters of scripts they do not know.
_OF_SINGLE_LETTERS = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
_FOR_CHINESE = "for Chinese hfl/chinese-bert-wwm-ext, say: docs/recipes.md#chinese"


class Vocabulary:
    """What a tokenizer says of itself, read once, since that takes as long as a megabyte of text. name: for people."""

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        self._parts: dict[str, Any] = json.loads(tokenizer.to_str())
        self._ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=False)

    @cached_property
    def unknown_id(self) -> int | None:
        """The id of [UNK]; None where every text can be spelled (byte-level BPE)."""
        model = self._parts["model"]
        if model.get("unk_id") is not None:  # Unigram
            return int(model["unk_id"])
        token = model.get("unk_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    @cached_property
    def capitals(self) -> str | None:
        """A warning where it lower-cases texts and its vocabulary is a cased one."""
        lowers = any(
            step["type"] == "Lowercase" or step.get("lowercase") is True
            for step in _steps(self._parts.get("normalizer"))
        )
        if not lowers:
            return None
        capitals = sorted(word for word in self._ids if word != word.lower() and self._is_word(word))
        words = sum(map(self._is_word, self._ids)) if capitals else 0
        if len(capitals) <= _CAPITALS * words:
            return None
        return (
            f"{self._name} lower-cases the text, so {len(capitals):,} of its {words:,} tokens, which have capitals "
            f"(such as {capitals[0]}), never occur. Nothing is to be done if the model was trained so; if it is a "
            'cased one, set "lowercase" to false in its tokenizer.json, or, of a vocab.txt alone, put '
            '{"do_lower_case": false} into tokenizer_config.json'
        )

    def warnings(
        self, scripts: Mapping[str, int], characters: Mapping[str, int], unknown: int, tokens: int
    ) -> list[str]:
        """What a person should look at. scripts: of `scripts_of`. characters: as of `unknowns`. unknown, tokens: how
        many ids of a text are [UNK], and in all.
        """
        found = [self.capitals, self._other_script(scripts), self.unknowns(unknown, tokens, characters)]
        return [warning for warning in found if warning]

    def unknowns(
        self, unknown: int, tokens: int, characters: Mapping[str, int] | None = None, learnt: bool = True
    ) -> str | None:
        """A warning where more than MOST_UNKNOWN of some tokens are [UNK]. characters: of a sample of their text, with
        counts. learnt: False of a text to be answered.
        """
        if unknown <= MOST_UNKNOWN * tokens:
            return None
        share = f"{100 * unknown / tokens:.1f} % of the tokens are [UNK]"
        if unknown <= _OTHER_LANGUAGE * tokens:
            remedy = (
                "; if they matter, replace them, or take a tokenizer, or a teacher, that has them" if learnt else ""
            )
            return f"{share}, which say nothing: {self._lacking(characters or {})}. The rest is read as usual{remedy}"
        if not learnt:
            return (
                f"{share}, which say nothing, so the answers are worth little: {self._name} does not know this text; "
                "look whether its language and its encoding are those that the model was trained on"
            )
        return (
            f"{share}, of which nothing can be learnt: {self._name} "
            f"does not know this text; take a tokenizer, or a teacher, of its language ({_FOR_CHINESE}), and look "
            "whether its encoding is right"
        )

    def _lacking(self, characters: Mapping[str, int]) -> str:
        """What the vocabulary lacks where it knows most of a text. characters: as of `unknowns`."""
        visible = (each for each in characters if unicodedata.category(each)[0] in "LNPS")
        by_count = sorted(visible, key=lambda each: (-characters[each], each))
        known = set().union(*self._ids)  # what stands in words alone is not lacking
        strange = (each for each in by_count if known.isdisjoint((each, each.lower())))
        lacking = [each for each in strange if self.unknown_id in self._tokenizer.encode(each).ids]
        if not lacking:
            return f"{self._name} does not know some words of this text"
        more = f" and {len(lacking) - _SHOWN_CHARACTERS} more" if len(lacking) > _SHOWN_CHARACTERS else ""
        shown = " ".join(lacking[:_SHOWN_CHARACTERS])
        return f"{self._name} lacks some characters of this text (in a sample {shown}{more})"

    def _other_script(self, scripts: Mapping[str, int]) -> str | None:
        letters = sum(scripts.values())
        if not letters:
            return None
        script = max(sorted(scripts), key=lambda each: scripts[each])
        if scripts[script] <= _MOST * letters:
            return None
        known = words = 0
        enough = min(_KNOWN_SHARE * len(self._ids), _KNOWN_TOKENS)
        for word in self._words():
            own = {_script(character) for character in word} - {""}
            words += bool(own)
            known += script in own and (script in _OF_SINGLE_LETTERS or len(word) > 1)
            if known >= enough:
                return None
        if known >= min(_KNOWN_SHARE * words, _KNOWN_TOKENS):
            return None
        chinese = f" ({_FOR_CHINESE})" if script == "CJK" else ""
        return (
            f"{100 * scripts[script] / letters:.0f} % of the text's letters are {script.capitalize()}, but only "
            f"{known:,} of {words:,} words and parts of words in {self._name}: take a tokenizer of the text's "
            f"language{chinese}, and look whether its encoding is right"
        )

    def _words(self) -> Iterator[str]:
        """The vocabulary as text, without special tokens and the marks of where a word begins or goes on."""
        by_bytes = any(step["type"] == "ByteLevel" for step in _steps(self._parts.get("pre_tokenizer")))
        for word, number in self._ids.items():
            if self._is_word(word):
                if by_bytes:
                    yield self._tokenizer.decode([number]).strip()
                else:
                    yield word.removeprefix("##").lstrip("\u2581")

    def _is_word(self, word: str) -> bool:
        """And not "[SEP]", or "[unused7]"."""
        return word not in self._added and not (len(word) > 2 and word.startswith("[") and word.endswith("]"))

    @cached_property
    def _added(self) -> frozenset[str]:
        return frozenset(token["content"] for token in self._parts["added_tokens"])


def are_mostly_unknown(unknown: int, tokens: int) -> bool:
    """Whether so many of a text's tokens are [UNK] that nothing is trained on it. unknown, tokens: their numbers."""
    return unknown > _FAR_TOO_MANY_UNKNOWN * tokens


def sample_of(lines: Texts) -> Counter[str]:
    """The characters of some of these lines, with counts."""
    step = max(1, len(lines) // _SAMPLED_LINES)
    heads = (lines.text(number)[:_SAMPLED_BYTES].decode(errors="ignore") for number in range(0, len(lines), step))
    return Counter("".join(heads))


def is_chinese(tokenizer: Tokenizer, ids: np.ndarray) -> bool:
    """Whether a text is Chinese beyond doubt: most of its letters are, and next to none are Japanese or Korean.

    ids: int (N,), some of its tokens.
    """
    scripts = scripts_of(Counter(tokenizer.decode(ids.tolist())))
    others = sum(scripts[script] for script in _OF_SINGLE_LETTERS - {"CJK"})
    return scripts["CJK"] > _MOST * scripts.total() and others < _NEXT_TO_NONE * scripts["CJK"]


def scripts_of(characters: Mapping[str, int]) -> Counter[str]:
    """How many letters of each script there are among characters, which are given with counts."""
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if script := _script(character):
            scripts[script] += count
    return scripts


def _steps(step: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    """The steps of a normaliser or pre-tokeniser, which may be a sequence of them."""
    if step is not None:
        yield step
        for inner in step.get("normalizers", step.get("pretokenizers", ())):
            yield from _steps(inner)


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """Of a letter, by the first word of its name: "LATIN", say. "" is no letter."""
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""
