"""Encodings are told apart by how common the characters are that bytes make, and not where that is not sure."""

from __future__ import annotations

import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.guess import ENCODING, guess, in_words, misread, reading

TEXTS = {
    "gb18030": "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n",
    "big5": "床前明月光、疑是地上霜。舉頭望明月、低頭思故鄉。\n",
    "cp950": "床前明月光、疑是地上霜。舉頭望明月、低頭思故鄉裏。\n",
    "shift_jis": "これは日本語の文章です。吾輩は猫である。名前はまだ無い。\n",
    "cp932": "①これは日本語の文章です。吾輩は猫である。名前はまだ無い。\n",
    "euc_jp": "これは日本語の文章です。吾輩は猫である。名前はまだ無い。\n",
    "euc_kr": "안녕하세요 세계. 이것은 한국어 문장입니다. 날씨가 좋습니다.\n",
    "cp949": "안녕하세요 세계. 이것은 한국어 문장입니다. 날씨가 좋습니다. 똠방각하 펲시콜라\n",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_encodings_are_told_apart_by_common_characters(encoding: str) -> None:
    sample = TEXTS[encoding].encode(encoding)
    found = guess(sample, "utf-8")
    assert found.likely == encoding and encoding in found.valid
    known, name = in_words(found, sample)
    assert name == encoding and (len(found.valid) == 1 or known.endswith(f"this is {encoding}"))
    assert guess(sample * 1000, "utf-8").likely == encoding


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"])
def test_few_letters_are_shown_as_each_encoding_reads_them(encoding: str) -> None:
    text = {"euc_kr": "세계\n", "shift_jis": "ありがとう、ソ能表。\n", "euc_jp": "ありがとう\n"}.get(
        encoding, "功能許可\n"
    )
    sample = text.encode(encoding)  # with second bytes that are ASCII in Big5 and Shift-JIS
    found = guess(sample, "utf-8")
    assert found.likely is None and encoding in found.valid and "cp1252" not in found.valid
    known, name = in_words(found, sample)
    assert name == ENCODING and f"{text.strip()!r} in {encoding.replace('_', '-')}" in known


def test_few_bytes_of_utf_8_are_known_and_fewer_shown() -> None:
    sample = TEXTS["gb18030"].encode()
    assert guess(sample, "big5") == (["utf-8"], "utf-8")
    assert guess(sample[:6] + b"\n", "big5").likely is None and guess(sample[:6] + b"\n", "big5").valid[0] == "utf-8"


def test_western_text_is_shown() -> None:
    sample = "plain\nun café, «oui», ça va: où, à côté? déjà! là où naïve, élève\n".encode("cp1252")
    assert guess(sample, "utf-8") == (["cp1252"], None)
    assert in_words(guess(sample, "utf-8"), sample)[0].endswith("in which they read 'caf\u00e9, «oui», ça'")
    few = guess("déjeuner\n".encode("cp1252"), "utf-8").valid
    assert few[0] == "cp1252" and "gb18030" in few  # which it may be by chance
    assert guess(b"\xff\xff\xff\n", "utf-8") == ([], None)


def test_a_reading_begins_with_the_first_character_beyond_ascii() -> None:
    assert reading("many words before 春眠\n不觉晓\n".encode(), "utf-8") == "ore 春眠"
    assert reading("plain\n春眠不觉晓处处闻啼鸟夜来风雨声\n".encode(), "utf-8") == "春眠不觉晓处处闻啼鸟夜来"


@pytest.mark.parametrize("said", ["gb18030", "gbk", "big5", "shift_jis", "euc_jp", "euc_kr", "cp949"])
@pytest.mark.parametrize("encoding", TEXTS)
def test_a_text_that_is_valid_in_another_encoding_is_told_by_its_characters(encoding: str, said: str) -> None:
    data = f"plain\n{TEXTS[encoding]}".encode(encoding) * 2
    found = misread(data, said, OptionNames())
    assert found is None or (found.likely == encoding and TEXTS[encoding] not in data.decode(said, "ignore"))
    if (encoding, said) in (("big5", "gb18030"), ("shift_jis", "gbk"), ("euc_jp", "gb18030"), ("euc_kr", "euc_jp")):
        assert found and found.remedy == f"use --encoding {encoding}"
        assert found.what == f"valid {said}, but its characters are rare in that and common in {encoding}"
    assert misread(data[:20], said, OptionNames()) is None  # too few to tell
    assert misread(TEXTS[encoding].encode(), "utf-8", OptionNames()) is None


def test_traditional_chinese_is_no_other_encoding_than_gb18030() -> None:
    assert misread(TEXTS["big5"].encode("gb18030") * 9, "gb18030", OptionNames()) is None


KOREAN = """오늘은 날씨가 맑아서 친구들과 함께 공원에 갔습니다. 나무 그늘에 앉아 준비해 온 점심을 먹고 책을 읽었습니다.
저녁에는 비가 내리기 시작해서 서둘러 집으로 돌아왔지만 우산이 없어서 옷이 모두 젖었습니다.
이 영화는 배우들의 연기가 훌륭하고 음악도 좋아서 끝까지 지루하지 않게 볼 수 있었다.
배송이 빠르고 포장도 꼼꼼했지만 색깔이 사진과 조금 달라서 별 하나를 뺍니다.
"""
CHINESE = """今天天气很好、我和朋友们一起去了公园。我们坐在树下吃午饭、看书、聊天、一直到傍晚才回家。
晚上开始下雨了、因为没有带伞、所以衣服全都湿了、不过大家还是很高兴。
这部电影的演员表演出色、音乐也很动听、从头到尾都不让人觉得无聊、值得一看。
"""


@pytest.mark.parametrize("said", ["gb18030", "gbk", "big5"])
def test_korean_is_not_taken_for_chinese(said: str) -> None:
    words = (word for word in KOREAN.split(" ") if "\ufffd" not in word.encode("euc_kr").decode(said, "replace"))
    korean = "".join(words) + "\n"  # in Big5 only some are valid
    told = f"valid {said}, but its characters are those of Korean in euc_kr"
    assert misread(korean.encode("euc_kr"), said, OptionNames()) == (told, "euc_kr", "use --encoding euc_kr")
    extended = misread(f"{korean}똠펲\n".encode("cp949"), said, OptionNames())
    assert extended is None if said == "big5" else extended and extended.likely == "cp949"


@pytest.mark.parametrize("rows", [CHINESE, "很好\n不好\n很快\n好吃\n" * 200])
def test_chinese_is_not_taken_for_korean(rows: str) -> None:
    """Nor where a text is of few different characters, all of them under first bytes of Hangul."""
    assert misread(rows.encode("gb18030"), "gb18030", OptionNames()) is None
