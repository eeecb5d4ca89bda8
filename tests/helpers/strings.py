"""BERT tokenizers of several kinds, and random texts that are hard for them."""

from __future__ import annotations

import random
import string

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tests.helpers.texts import SPECIALS

KINDS = ("uncased", "cased", "chinese", "multilingual")

_CODES = [code for code in range(0x20, 0x110000) if not 0xD800 <= code < 0xE000]
_RANGES = {
    "uncased": (range(0xA1, 0x250),),
    "cased": (range(0xA1, 0x250),),
    "chinese": (range(0x4E00, 0x9FFF, 3), range(0x3041, 0x30FF)),
    "multilingual": (range(0xA1, 0x600), range(0x905, 0x940), range(0x4E00, 0x9FFF, 7), range(0xAC00, 0xD7A3, 29)),
}
_PARTS = [
    "[SEP]", "[CLS]", "[MASK]", "[UNK]", "##", "##a", "a", "the", "Bird", "É", "e\u0301", "\u0301", "\u0323", " ", "  ",
    "\t", "\r", "\n", "\u00a0", "\u3000", "\u2028", "中", "国", "字a", "😀", "👍🏽", "\u200d", "\ufe0f", "\x00", "\x0b",
    "\x7f", "\x85", "\u00ad", "\ufeff", "ﬁ", "İ", "ß", "Σ", "ς", ".", ",", "'", "-", "_", "$", "1", "½", "가",
    "\u1100\u1161", "ش", "\u064e", "क", "\u093f", "x" * 99, "y" * 100, "Z" * 101, "é" * 50, "\ufffd", "\ue000",
    "\u0378", "\U000e0100", "\U0010ffff", "\ud7ff", "\ufffe", "ǅ", "\u212a", "\u1e9e",
]  # fmt: skip


def bert_tokenizer(kind: str) -> Tokenizer:
    """A BERT tokenizer with a made-up vocabulary that has most of what `random_text` writes."""
    draw = random.Random(kind)
    letters = [chr(code) for codes in _RANGES[kind] for code in codes]
    letters += [*string.punctuation, *string.digits, *string.ascii_letters]
    letters += [chr(draw.choice(_CODES)) for _ in range(2000)]
    words = ["".join(draw.choices("abcdefghiostABCÉéñü", k=draw.randint(2, 6))) for _ in range(3000)]
    pieces = dict.fromkeys([*SPECIALS, *letters, *words, *(f"##{piece}" for piece in letters + words)])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    strip = False if kind == "multilingual" else None
    lowercase = kind in ("uncased", "chinese")
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.encode_special_tokens = True
    return tokenizer


def random_text(draw: random.Random) -> str:
    """Of one script and some characters of any, or of all of them; spaces between."""
    size = draw.randint(20, 80)
    first = draw.choice((0x21, 0x21, 0xA1, 0x370, 0x600, 0x900, 0x3041, 0x4E00, 0xAC00))
    near = range(first, first + draw.choice((94, 300)))
    foreign = draw.choice((0.0, 0.1, 1.0))
    return "".join(
        " " if draw.random() < 0.15 else chr(draw.choice(_CODES) if draw.random() < foreign else draw.choice(near))
        for _ in range(size)
    )


def adversarial_text(draw: random.Random) -> str:
    """Parts that are hard, in any order."""
    return "".join(draw.choice(_PARTS) for _ in range(draw.randint(15, 60)))
