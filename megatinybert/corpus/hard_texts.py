"""Texts that tokenizers easily get wrong: what a fast engine has to encode correctly before it is used."""

# ruff: noqa: RUF001 - letters that look alike are the point

from __future__ import annotations

from collections.abc import Iterable

_WHOLE = [
    "",
    " ",
    "A plain sentence, with 1,234.5 numbers; and (some) punctuation: isn't it?",
    "MiXeD CaSe ÀÉÎÕÜ àéîõü ÇçÑñ Łł Øø Đđ ß ẞ Ææ Œœ",
    "İstanbul ıI iİ ǅ ǆ Ǆ ΑΣ ΣΑΣ σς Σ. ΌΣΟΣ К К K Å Ω",  # lower-casing that depends on place or changes the length
    "e\u0301 e\u0302\u0323 a\u030a n\u0303 o\u0308\u0304 \u0301x \u0301 q\u0307\u0323 \u1e9b\u0323 \ufb2c",
    "\u0344 \u0340\u0341 \u0f73 \u1112\u1161\u11ab 한국어 가각힣",  # decompositions, of Hangul too
    "ﬁ ﬂ ﬃ ½ ² ™ Ⅷ ㎏ ① ｆｕｌｌ ＷＩＤＴＨ ｶﾞ",
    "我们的世界很大,今天下雨了。 中文English混合123文字",
    "\u3400\u4dbf\u4e00\u9fff\uf900\ufaff \U00020000\U0002a6df \U0002a700\U0002b73f\U0002b740\U0002b81f",
    "\U0002b820\U0002ceaf \U0002f800\U0002fa1f \U00030000\U0003134f \u33ff\u4dc0\ua000\ufb00",  # beside CJK's ranges
    "ひらがな カタカナ ー々〆〇 「引用」、。・ \u3000 全角 空白",
    "😀 👍🏽 👨\u200d👩\u200d👧 🇩🇪🇯🇵 ❤\ufe0f #\ufe0f\u20e3 \U0001f9d1\u200d\U0001f4bb a😀b",
    "a\u200bb c\u200cd e\u200df g\u2060h i\ufeffj k\u00adl \u200e\u200f \u202aleft\u202c \u2066x\u2069 \u061c",
    "\x00 a\x00b \x01\x02c\x1f d\x7fe \x80f\x9f g\x85h \x0b i\x0bj \x0c k\x0cl \x1cm\x1d \ufffd n\ufffdo",
    "\tx\ty \t z\n\n w\r\nv \r u",
    "\u00a0a\u00a0b\u1680c\u2000d\u2001e\u2005f\u200ag\u2028h\u2029i\u202fj\u205fk\u3000l\u180em",
    "\ue000 \uf8ff \U000f0000 \U0010fffd \U0010ffff \ufdd0 \ufffe \uffff \ud7ff\ue000",  # private, none, by surrogates
    "\u0378 \u0530 \u05ff \u2fe0 \U0001ffff \U000e0001 \U000e0100 \u1ac1 \U0001e5d0 \ua7cb \U00010d40",  # unassigned
    "שלום עולם שָׁלוֹם العربية مُحَمَّد فارسی‌ها اُردُو ܫܠܡܐ",
    "हिन्दी क्षत्रिय বাংলা தமிழ் ไทยภาษา ลาว မြန်မာ ខ្មែរ བོད་ཡིག ქართული Ქ ჭ Հայերեն ᏣᎳᎩ ꭰ",
    "Русский Ёё Йй Українська їі Ελληνικά Άά ΐ ΰ Tiếng Việt Ơơ Ưư ạặậ",
    "𝐀𝐁𝐂 𝕏 𝟘𝟙 𐐀𐐨 𞤀𞤢 Ⓐⓐ Ʝʝ Ⱥⱥ ꙁ Ꙃ",  # letters beyond the first plane, with and without a small form
    "a.b,c;d:e!f?g'h\"i(j)k[l]m{n}o<p>q/r\\s|t@u#v$w%x^y&z*a-b_c=d+e~f`g",
    "« » „ “ ” ‘ ’ – — … ‹ › · • ‽ ¿ ¡ § ¶ † ‡ ′ ″ ⁂ € £ ¥ ¢ © ® ° ± × ÷ ← → ∑ ∞ ≠ ½",
    "[CLS] [SEP] [PAD] [MASK] [UNK] a[SEP]b [sep] [ SEP ] [SEP][SEP] [CL S] <s> </s> ##a # ## ### a##b ##",
    "[MASK]ed un[UNK]nown [unused1] [unused99] \u0120x \u2581x",
    "http://user@example.org:8080/a_b/c%20d?e=f&g=h#i C:\\dir\\file.txt 1e-5 +1-800 x=y**2 foo_bar::baz->q",
]
_LENGTHS = (1, 2, 50, 99, 100, 101, 102, 200, 255, 256, 257, 1000)  # 100 letters are a word of BERT's at most


def hard_texts(vocabulary: Iterable[str]) -> list[str]:
    """Texts without lone surrogates. vocabulary: the pieces of the tokenizer, every 97th of which is among them."""
    texts = list(_WHOLE)
    for length in _LENGTHS:
        texts += ["a" * length, "É" * length, "1" * length, "." * length, "猫" * length, "e\u0301" * length]
        texts += ["a" * length + " b", "a" * (length - 1) + "😀", "x" + "\u200b" * length, " " * length + "a"]
    pieces = sorted(vocabulary)[::97]
    texts += [piece.removeprefix("##") for piece in pieces]
    texts += [piece.upper() + piece.removeprefix("##") for piece in pieces]
    texts.append(" ".join(pieces))
    texts.append(" ".join(_WHOLE))
    texts.append("".join(_WHOLE))
    texts += [text[::-1] for text in _WHOLE]  # marks before what they stood on
    return texts
