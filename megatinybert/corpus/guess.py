"""Which encoding a text is in: what its bytes are valid in, told apart by the characters that they make."""

from __future__ import annotations

import codecs
import re
from itertools import islice
from typing import NamedTuple

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.charset import ASCII, Contradiction, iconv_name

ENCODING = "ENCODING"  # in a command, for one of several names
_UTF_8, _WESTERN = "utf-8", "cp1252"
# An East Asian encoding and Windows' extension of it, in the order in which they are named.
_FAMILIES = (("gb18030",), ("big5", "cp950"), ("shift_jis", "cp932"), ("euc_jp",), ("euc_kr", "cp949"))
# National standards order their characters by use. So each has the characters of everyday text under some first bytes
# alone, by the codec that is named: frequent ideographs, kana, Hangul.
_COMMON = {
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5": ("big5", range(0xA4, 0xC7)),
    "shift_jis": ("euc_jp", (0xA4, 0xA5, *range(0xB0, 0xD0))),
    "euc_jp": ("euc_jp", (0xA4, 0xA5, *range(0xB0, 0xD0))),
    "euc_kr": ("euc_kr", range(0xB0, 0xC9)),
}
# Korean is valid GB18030 of common ideographs, and Japanese in EUC is mostly so in Big5, but not the other way round.
_NARROWEST_FIRST = ("euc_jp", "shift_jis", "euc_kr", "big5", "gb18030")
# Of 5,400 samples of 1 to 32 lines each, from Vim's tutor and messages in simplified and traditional Chinese, Japanese
# and Korean, none was told wrong by these. Nearly all of so many letters were told, but for traditional in GB18030.
_MOSTLY_COMMON, _ENOUGH_LETTERS = 0.9, 16
# Of a text's letters, where it is read in another encoding than its own, fewer are common. Of 13,500 samples like
# these, none was told wrong by this, and most of Big5 and of Japanese that is valid GB18030 were told.
_MOSTLY_RARE = 0.5
# Korean is of common ideographs in Chinese encodings, too, but of those under the first bytes of Hangul alone. Of 64
# different ideographs of a Chinese text nine in ten are hardly ever under these, which are 0.62 of the common ones.
_KOREAN, _CHINESE, _DIFFERENT = ("euc_kr", "cp949"), ("gb18030", "big5"), 64
_SAMPLED_LINES = 256
_ENOUGH_BYTES = 16  # beyond ASCII, to be UTF-8 or western by chance
_WITH_KANA = 0.1  # of a Japanese text's letters at the least; no other text has any
_COUNTED_LETTERS = 4096
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")
_MOSTLY_ALONE = 0.8  # of the bytes beyond ASCII in a western text, and hardly any in East Asian ones
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_SHOWN_BEFORE, _SHOWN_LETTERS = 4, 12


class Guess(NamedTuple):
    """valid: the codecs that bytes may be in. likely: which of them it is; None where that cannot be told."""

    valid: list[str]
    likely: str | None


def guess(sample: bytes, encoding: str) -> Guess:
    """What bytes may be in that are not valid in `encoding`. sample: whole lines."""
    texts = _texts(sample, encoding)
    beyond = len(sample.translate(None, ASCII))
    if _UTF_8 in texts:
        return Guess([_UTF_8], _UTF_8) if beyond >= _ENOUGH_BYTES else Guess(list(texts), None)
    if encoding != _WESTERN and _is_western(sample, beyond):
        # A few bytes may be East Asian, too, of characters whose second bytes are ASCII.
        return Guess([_WESTERN, *(texts if beyond < _ENOUGH_BYTES else ())], None)
    return _by_characters(texts)


def misread(head: bytes, encoding: str, names: OptionNames) -> Contradiction | None:
    """What shows that the beginning of a file, which is valid in one East Asian encoding, is in another: how common its
    characters are in either.
    """
    family = next((family for family, *others in _FAMILIES if encoding in (family, *others)), None)
    family = "gb18030" if encoding in ("gbk", "gb2312") else family
    lines = (line for line in head[: head.rfind(b"\n") + 1].split(b"\n") if not line.isascii())
    sample = b"\n".join(islice(lines, _SAMPLED_LINES))
    text = _decoded(sample, encoding) if family else None
    if family is None or text is None:
        return None
    letters = list(islice(filter(_is_letter, text), _COUNTED_LETTERS))
    likely = guess(sample, encoding).likely
    if likely and _share_of_common(letters, family) < _MOSTLY_RARE:
        how = f"rare in that and common in {likely}"
    elif likely in _KOREAN and family in _CHINESE and _is_hangul(sample.decode(likely)):
        how = f"those of Korean in {likely}"
    else:
        return None
    return Contradiction(f"valid {encoding}, but its characters are {how}", likely, f"use {names['encoding']} {likely}")


def in_words(found: Guess, sample: bytes) -> tuple[str, str | None]:
    """(What is known of bytes that are not valid; what their encoding is called in commands: ENCODING where a person
    has to tell it from what they read; None where nothing is known).
    """
    if not found.valid:
        return "", None
    listed = " and ".join(found.valid)
    if found.likely:
        by = f"; by how common their characters are, this is {found.likely}" if len(found.valid) > 1 else ""
        return f"These bytes are valid {listed}{by}", found.likely
    if len(found.valid) == 1:
        return f"These bytes are valid {listed}, in which they read {reading(sample, listed)!r}", listed
    ways = " and ".join(f"{reading(sample, name)!r} in {iconv_name(name)}" for name in found.valid)
    return f"These bytes read {ways}; take the one that is right for {ENCODING}", ENCODING


def reading(sample: bytes, encoding: str) -> str:
    """What bytes say where they first leave ASCII, by a codec in which they are valid."""
    text = sample.decode(encoding)
    first = next((at for at, letter in enumerate(text) if not letter.isascii()), 0)
    earliest = max(first - _SHOWN_BEFORE, 0)
    begin = text.rfind("\n", earliest, first) + 1 or earliest
    return text[begin : first + _SHOWN_LETTERS].partition("\n")[0].strip()


def _texts(sample: bytes, encoding: str) -> dict[str, str]:
    """What bytes say in UTF-8, and of each family by the first codec in which they are valid."""
    texts: dict[str, str] = {}
    for names in ((_UTF_8,), *_FAMILIES):
        tried = ((name, _decoded(sample, name)) for name in names)
        texts.update(islice(((name, text) for name, text in tried if text is not None), 1))
    texts.pop(encoding, None)
    return texts


def _by_characters(texts: dict[str, str]) -> Guess:
    """texts: by the codecs that make them. Nearly all characters that the likely one makes are common in it."""
    family = {name: names[0] for names in _FAMILIES for name in names}
    letters = {name: list(islice(filter(_is_letter, text), _COUNTED_LETTERS)) for name, text in texts.items()}
    shares = {name: _share_of_common(letters[name], family[name]) for name in texts}
    valid = sorted(texts, key=lambda name: -shares[name])
    if all(len(found) >= _ENOUGH_LETTERS for found in letters.values()):
        narrowest_first = sorted(texts, key=lambda name: _NARROWEST_FIRST.index(family[name]))
        for likely in (name for name in narrowest_first if shares[name] >= _MOSTLY_COMMON):
            return Guess([likely, *(name for name in valid if name != likely)], likely)
    return Guess(valid, None)


def _share_of_common(letters: list[str], family: str) -> float:
    codec, leads = _COMMON[family]
    if not letters:
        return 0.0
    if codec == "euc_jp" and sum("\u3040" <= letter <= "\u30ff" for letter in letters) < _WITH_KANA * len(letters):
        return 0.0
    codes = (letter.encode(codec, "ignore") for letter in letters)
    return sum(len(code) == 2 and code[0] in leads for code in codes) / len(letters)


def _is_hangul(text: str) -> bool:
    """Whether it has many different letters, and nearly all of them are Hangul of everyday use."""
    different = list({*filter(_is_letter, text)})
    return len(different) >= _DIFFERENT and _share_of_common(different, "euc_kr") >= _MOSTLY_COMMON


def _is_letter(character: str) -> bool:
    """Whether it is beyond ASCII, and no East Asian punctuation, which all these encodings have."""
    return character > "\x7f" and not ("\u3000" <= character <= "\u303f" or "\uff01" <= character <= "\uff65")


def _is_western(sample: bytes, beyond: int) -> bool:
    """Whether it looks like a text of Western Europe: its accents stand among ASCII. beyond: how many bytes do not."""
    alone = len(_ALONE.findall(sample))
    return beyond > 0 and alone >= _MOSTLY_ALONE * beyond and _decoded(sample, _WESTERN) is not None


def _decoded(sample: bytes, encoding: str) -> str | None:
    """None where bytes are not valid, or are so for private use, by which Windows' extensions make almost all so."""
    try:
        text = codecs.decode(sample, encoding)
    except UnicodeError:
        return None
    return None if encoding.startswith("cp") and _PRIVATE.search(text) else text
