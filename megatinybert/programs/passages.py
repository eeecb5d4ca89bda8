"""The passages of a text that is searched."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

LEAST_WORDS, MOST_WORDS = 20, 40  # of a passage
# Written without spaces: each such character counts, with the marks around it and what adheres to it.
_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_WIDE_MARKS = "。、\uff01\uff0c\uff1a\uff1b\uff1f"  # the last five of full width
_CLOSING = r"""["'”\u2019)\]」』》\uff09】]"""
_AFTER = rf"(?:[{_WIDE_MARKS}.,!?;:…]|{_CLOSING})*"
_OTHER = rf"[^\s{_CHARACTERS}{_WIDE_MARKS}]*"
_WORD = re.compile(rf"{_OTHER}[{_CHARACTERS}{_WIDE_MARKS}]{_AFTER}|\S+")
# What a long line is cut after, the best first.
_ENDS = [re.compile(f"[{marks}]{_CLOSING}*$") for marks in (".!?。\uff01\uff1f…", "\uff1b\uff1a", "\uff0c", "、")]


def cut_passages(text: str) -> list[str]:
    """Consecutive lines of one document joined to passages of LEAST_WORDS to MOST_WORDS words, each passage once.

    Documents are parted by blank lines. A line of more words is cut at the end of a sentence where one is in reach, in
    Chinese else at that of a clause, else after any word. Passages of fewer words are left out, since they say too
    little to be found. A Chinese character, or a Japanese one, is a word.
    """
    passages: list[tuple[str, int]] = []
    for filled, document in itertools.groupby(text.splitlines(), key=lambda line: bool(line.strip())):
        passage, words = "", 0
        for piece in itertools.chain.from_iterable(map(_pieces, document)) if filled else ():
            more = _count(piece)
            if words + more > MOST_WORDS:
                passages.append((passage, words))
                passage, words = "", 0
            passage, words = f"{passage} {piece}".lstrip(), words + more
        passages.append((passage, words))
    return list(dict.fromkeys(passage for passage, words in passages if words >= LEAST_WORDS))


def even_sample(passages: Sequence[str], most: int) -> list[str]:
    """At most `most` of the passages, at equal distances over the whole text."""
    count = min(most, len(passages))
    return [passages[number * len(passages) // count] for number in range(count)]


def _pieces(line: str) -> Iterator[str]:
    """A line in parts of at most MOST_WORDS words, and of at least LEAST_WORDS unless it has fewer."""
    line = " ".join(line.split())
    words = list(_WORD.finditer(line))
    while len(words) > MOST_WORDS:
        most = min(MOST_WORDS, len(words) - LEAST_WORDS)
        sizes = range(most, LEAST_WORDS - 1, -1)
        size = next((size for end in _ENDS for size in sizes if end.search(words[size - 1].group())), most)
        yield line[words[0].start() : words[size - 1].end()]
        words = words[size:]
    yield line[words[0].start() :]


def _count(text: str) -> int:
    return len(_WORD.findall(text))
