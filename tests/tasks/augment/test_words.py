"""Which words of a text may be rewritten, and where they are."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.tasks.augment.words import CHINESE, ENGLISH, Splitter


def words_of(model: Path, text: str, segmenter: str = "none") -> list[str]:
    (split,) = Splitter(load_tokenizer(model), segmenter, "--segmenter").split([text])  # type: ignore[arg-type]
    return [split.text[word.start : word.end] for word in split.words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('The  "Bbird" of\tdstone , x2 42', ["Bbird", "dstone"]),
        ("bbird-house don't won't wo n't kring's", ["bbird", "house", "kring"]),
        ("caf\u00e9 cafe\u0301! na\u00efve", ["caf\u00e9", "cafe\u0301", "na\u00efve"]),
        ("[MASK] bbird", ["MASK", "bbird"]),
        ("", []),
    ],
)
def test_words_of_letters_that_are_no_stop_words(model: Path, text: str, words: list[str]) -> None:
    assert words_of(model, text) == words


def test_a_word_knows_its_tokens(model: Path) -> None:
    tokenizer = load_tokenizer(model)
    (split,) = Splitter(tokenizer, "none", "--segmenter").split(["the bbird, unseen dstone"])
    tokens = [tokenizer.id_to_token(int(number)) for number in split.ids]
    pieces = {split.text[word.start : word.end]: tokens[word.first : word.last] for word in split.words}
    assert pieces == {"bbird": ["bbird"], "unseen": ["u", "##n", "##s", "##e", "##e", "##n"], "dstone": ["dstone"]}


def test_every_chinese_character_is_a_word(model: Path) -> None:
    assert words_of(model, "电影很好看。bbird天气") == ["电", "影", "好", "看", "bbird", "天", "气"]


def test_a_segmenter_joins_chinese_characters(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jieba = types.ModuleType("jieba")
    jieba.setLogLevel = lambda level: None  # type: ignore[attr-defined]
    cuts = {"电影很好看": ["电影", "很", "好看"], "我们": ["我们"]}
    jieba.cut = lambda text: iter(cuts[text])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jieba", jieba)
    (split,) = Splitter(load_tokenizer(model), "jieba", "--segmenter").split(["bbird电影很好看。我们 天"])
    words = {split.text[word.start : word.end]: (word.characters, word.pieces) for word in split.words}
    assert words == {"bbird": (1, 1), "电影": (2, 2), "好看": (2, 2), "天": (1, 1)}


def test_a_missing_segmenter_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ValueError, match="pip install jieba"):
        Splitter(load_tokenizer(model), "jieba", "--segmenter")


def test_stop_words_are_listed_once() -> None:
    for listed in (ENGLISH.split(), CHINESE.split()):
        assert len(set(listed)) == len(listed)
