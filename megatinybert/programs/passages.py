"""The passages of a text that is searched."""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence

LEAST_WORDS, MOST_WORDS = 20, 40  # of a passage
# The same in Chinese characters, the unit of sizes here: each says about half of what a word does.
LEAST, MOST = 2 * LEAST_WORDS, 2 * MOST_WORDS
_MOST_WHOLE = 100  # of what could only be cut inside a clause; with marks, it still fits into 128 tokens
# Written without spaces: each such character counts, with the marks around it and what adheres to it.
_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_CHARACTER = re.compile(f"[{_CHARACTERS}]")
_WIDE_MARKS = "。、\uff01\uff0c\uff1a\uff1b\uff1f"  # the last five of full width
_CLOSING = r"""["'”\u2019)\]」』》\uff09】]"""
_AFTER = rf"(?:[{_WIDE_MARKS}.,!?;:…]|{_CLOSING})*"
_OTHER = rf"[^\s{_CHARACTERS}{_WIDE_MARKS}]*"
_WORD = re.compile(rf"{_OTHER}[{_CHARACTERS}{_WIDE_MARKS}]{_AFTER}|\S+")
# What a long line is cut after, the best first.
_SENTENCE, _CLAUSE = "[.!?。\uff01\uff1f\uff1b…]", rf"(?:[\uff0c\uff1a]|(?<=[{_CHARACTERS}])[,:;])"
_ENDS = [re.compile(f"{mark}{_CLOSING}*$") for mark in (_SENTENCE, _CLAUSE, "、")]


def cut_passages(text: str) -> list[str]:
    """Consecutive lines of one document joined to passages of LEAST_WORDS to MOST_WORDS words, each passage once.

    Documents are parted by blank lines. A line of more words is cut at the end of a sentence where one is in reach, in
    Chinese else at that of a clause, else after any word. A Chinese character, or a Japanese one, is half a word.
    Passages of fewer words are left out, since they say too little to be found.
    """
    passages: list[tuple[str, int]] = []
    for filled, document in itertools.groupby(text.splitlines(), key=lambda line: bool(line.strip())):
        passage, size = "", 0
        for piece, more in itertools.chain.from_iterable(map(_pieces, document)) if filled else ():
            if size + more > MOST:
                passages.append((passage, size))
                passage, size = "", 0
            passage, size = f"{passage} {piece}".lstrip(), size + more
        passages.append((passage, size))
    return list(dict.fromkeys(passage for passage, size in passages if size >= LEAST))


def even_sample(passages: Sequence[str], most: int) -> list[str]:
    """At most `most` of the passages, at equal distances over the whole text."""
    count = min(most, len(passages))
    return [passages[number * len(passages) // count] for number in range(count)]


def _pieces(line: str) -> Iterator[tuple[str, int]]:
    """A line in parts of LEAST to MOST, with the size of each; of less where the line is less. Chinese of up to
    _MOST_WHOLE stays one part where no clause ends in reach.
    """
    line = " ".join(line.split())
    words = list(_WORD.finditer(line))
    sizes = list(itertools.accumulate((1 if _CHARACTER.search(word.group()) else 2 for word in words), initial=0))
    start = 0
    while (rest := sizes[-1] - sizes[start]) > MOST:
        least, most = sizes[start] + LEAST, sizes[start] + min(MOST, rest - LEAST)
        reach = range(bisect.bisect_right(sizes, most) - 1, bisect.bisect_left(sizes, least) - 1, -1)
        cut = next((cut for end in _ENDS for cut in reach if end.search(words[cut - 1].group())), None)
        if cut is None and rest <= _MOST_WHOLE and rest < 2 * (len(words) - start):  # less: some is Chinese
            break
        cut = cut or reach[0]
        yield line[words[start].start() : words[cut - 1].end()], sizes[cut] - sizes[start]
        start = cut
    yield line[words[start].start() :], rest
