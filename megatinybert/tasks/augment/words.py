"""The words of a text, and which may be replaced."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from tokenizers import Encoding, Tokenizer

Segmenter = Literal["none", "jieba"]

# Words of grammar, which carry what a sentence says about its content words. The single letters and pairs of letters
# are what is left of contractions: tokenizers part them at the apostrophe.
ENGLISH = """
a about above after again against all also although am an and another any are as at be because been before being below
between both but by ca can cannot could d did do does doing done down during each either else ever every few for from
further had has have having he her here hers herself him himself his how i if in into is it its itself just ll m may me
might more most must my myself n neither no nor not now of off on once only or other ought our ours ourselves out over
own re s same shall she should since so some such t than that the their theirs them themselves then there these they
this those though through till to too under until up upon us ve very was we were what when where whether which while who
whom whose why will with within without wo would yet you your yours yourself yourselves
"""
CHINESE = """
的 地 得 了 着 过 是 在 和 与 及 或 而 但 也 都 就 还 又 很 不 没 有 我 你 您 他 她 它 们 这 那 哪 谁 吗 呢 吧 啊 把
被 让 对 从 到 向 为 以 于 之 其 将 个 所 我们 你们 他们 她们 它们 这个 那个 这些 那些 这里 那里 什么 怎么 没有 不是
因为 所以 但是 如果 虽然 而且 或者 以及 自己 就是 还是 已经
"""
STOP_WORDS = frozenset(ENGLISH.split() + CHINESE.split())

_NEGATION = re.compile("['\u2019]t(?![a-z])", re.IGNORECASE)  # what it follows is no word of its own: "won't", "don't"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ceaf"
_HAN_RUN = re.compile(f"[{_HAN}]{{2,}}")


class Word(NamedTuple):
    """Characters [start, end) of a text, which are tokens [first, last) of it.

    characters: of a word that a segmenter joined, how many; otherwise 1.
    """

    start: int
    end: int
    first: int
    last: int
    characters: int = 1

    @property
    def pieces(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class SplitText:
    """ids: int64 (tokens,), without special tokens. words: those that may be rewritten, in order."""

    text: str
    ids: np.ndarray
    words: list[Word]


class Splitter:
    """Splits texts as the tokenizer does: at spaces, at punctuation, and around every Chinese character.

    A word may be rewritten if it is made of letters and is no stop word. segmenter: "jieba" joins Chinese characters
    to words. option: that of the segmenter. Raises ValueError where that package is not installed.
    """

    def __init__(self, tokenizer: Tokenizer, segmenter: Segmenter, option: str) -> None:
        self._tokenizer = tokenizer
        self._cut = _jieba(option) if segmenter == "jieba" else None

    def split(self, texts: Sequence[str]) -> list[SplitText]:
        encodings: list[Encoding] = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [self._split(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def _split(self, text: str, encoding: Encoding) -> SplitText:
        words: list[Word] = []
        previous = None
        inside = _inside_words(text, self._cut) if self._cut else set()
        for index, (number, (start, end)) in enumerate(zip(encoding.word_ids, encoding.offsets, strict=True)):
            if number == previous:
                words[-1] = words[-1]._replace(end=end, last=index + 1)
            elif start in inside:
                word = words[-1]
                words[-1] = word._replace(end=end, last=index + 1, characters=word.characters + 1)
            else:
                words.append(Word(start, end, index, index + 1))
            previous = number
        words = [word._replace(end=_end_of_marks(text, word.end)) for word in words]
        kept = [word for word in words if _may_be_rewritten(text, word)]
        return SplitText(text, np.array(encoding.ids, dtype=np.int64), kept)


def has_chinese_word(text: str) -> bool:
    """Whether Chinese characters stand beside each other in a text, as a segmenter would join them."""
    return bool(_HAN_RUN.search(text))


def _may_be_rewritten(text: str, word: Word) -> bool:
    letters = text[word.start : word.end]
    return (
        letters[:1].isalpha()
        and all(letter.isalpha() or _is_mark(letter) for letter in letters)
        and letters.lower() not in STOP_WORDS
        and not _NEGATION.match(text, word.end)
    )


def _end_of_marks(text: str, end: int) -> int:
    """Where the accents after a letter end: tokenizers that strip them leave them out of the word."""
    while end < len(text) and _is_mark(text[end]):
        end += 1
    return end


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _inside_words(text: str, cut: Callable[[str], Iterable[str]]) -> set[int]:
    """The characters of a text that go on with a Chinese word that has begun before them."""
    inside: set[int] = set()
    for run in _HAN_RUN.finditer(text):
        start = run.start()
        for word in cut(run[0]):
            inside.update(range(start + 1, start + len(word)))
            start += len(word)
    return inside


def _jieba(option: str) -> Callable[[str], Iterable[str]]:
    try:
        import jieba  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise ValueError(
            f"{option} jieba: the package jieba is not installed: pip install jieba, or leave the option out and "
            "every Chinese character is rewritten on its own"
        ) from error
    jieba.setLogLevel("WARNING")
    cut: Callable[[str], Iterable[str]] = jieba.cut
    return cut
