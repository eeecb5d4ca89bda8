"""Word vectors: nearest words as by the definition, the cache, and what is wrong in a file."""

from __future__ import annotations

import codecs
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from megatinybert.tasks.augment import vectors
from megatinybert.tasks.augment.vectors import open_vectors


def write(path: Path, words: list[str], numbers: np.ndarray, head: str = "") -> Path:
    lines = [f"{word} {' '.join(f'{x:.6f}' for x in row)}\n" for word, row in zip(words, numbers, strict=True)]
    path.write_text(head + "".join(lines), encoding="utf-8")
    return path


def random_vectors(count: int = 300, width: int = 8) -> tuple[list[str], np.ndarray]:
    return [f"word{number}" for number in range(count)], np.random.default_rng(0).normal(size=(count, width))


def by_definition(words: list[str], numbers: np.ndarray, word: str, count: int) -> list[str]:
    index = words.index(word)
    cosines = numbers @ numbers[index] / np.linalg.norm(numbers, axis=1) / np.linalg.norm(numbers[index])
    best = [number for number in np.argsort(-cosines) if number != index][:count]
    return [words[number] for number in sorted(best)]


@pytest.mark.parametrize("at_once", [7, 16384])
def test_nearest_words_by_cosine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(vectors, "_VECTORS_AT_ONCE", at_once)
    monkeypatch.setattr(vectors, "_QUERIES_AT_ONCE", 11)
    monkeypatch.setattr(vectors, "_ROWS_AT_ONCE", 13)
    words, numbers = random_vectors()
    opened = open_vectors(write(tmp_path / "glove.txt", words, numbers), tmp_path, "--vectors")
    asked = [f"word{number}" for number in range(0, 300, 7)]
    nearest = opened.nearest([*asked, "Word5", "unknown"], 15)
    for word in asked:
        assert nearest[word] == by_definition(words, numbers, word, 15)
    found = [word.lower() for word in nearest["Word5"]]
    assert found == by_definition(words, numbers, "word5", 15), "found in lower case"
    assert all(word.startswith("Word") for word in nearest["Word5"])
    assert "unknown" not in nearest


def test_other_spellings_and_entries_of_several_words_are_no_candidates(tmp_path: Path) -> None:
    words = ["cat", "Cat", "big cat", "dog", "stone"]
    numbers = np.array([[1, 0.1], [1, 0.1], [1, 0.1], [1, 0.3], [-1, 0.2]])
    opened = open_vectors(write(tmp_path / "glove.txt", words, numbers), tmp_path, "--vectors")
    assert opened.nearest(["cat"], 3) == {"cat": ["dog"]}
    assert opened.nearest(["cat"], 99) == {"cat": ["dog", "stone"]}


def test_the_head_of_word2vec_files_is_passed_over(tmp_path: Path) -> None:
    words, numbers = random_vectors(5, 3)
    opened = open_vectors(write(tmp_path / "a.vec", words, numbers, head="5 3\n"), tmp_path, "--vectors")
    assert opened.words == words and opened.unit.shape == (5, 3)
    assert np.allclose(opened.unit, numbers / np.linalg.norm(numbers, axis=1, keepdims=True), atol=1e-5)


def test_words_may_hold_spaces_of_every_kind(tmp_path: Path) -> None:
    """Only U+0020 parts fields, and the last D of them are the numbers, also in the first line."""
    path = tmp_path / "glove.txt"
    words = [". . .", "a\u3000b", "\u3000", "c\xa0d", "e\u2028f", "cat"]
    path.write_text("".join(f"{word} {number}.5 0.25\n" for number, word in enumerate(words)), encoding="utf-8")
    opened = open_vectors(path, tmp_path, "--vectors")
    assert opened.words == words and opened.unit.shape == (6, 2)
    assert opened.nearest(["cat"], 5) == {"cat": []}, "none of them can stand in a text as one word"
    path.write_text("3 2\nRoute 66 1 2\ncat 1 2 \n7 2 1\n")
    assert open_vectors(path, tmp_path, "--vectors").words == ["Route 66", "cat", "7"], "the head says where words end"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"3 9\nthe 5:1.04 9:0.84\ncat 1:0.5\n", "sparse vectors"),
        (b"the 5:1.04 7:1e-05 9:0.84\n", "sparse vectors"),
        (b"2 3\nthe \0\0\x80?\0\0", "a binary file"),
        (b"the\t0.5 0.25\n", "line 1: .* single spaces and not by tabs"),
    ],
)
def test_files_of_other_kinds_are_refused_by_what_they_are(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "other.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"--vectors .*other.txt.*{reason}"):
        open_vectors(tmp_path / "other.txt", tmp_path, "--vectors")
    assert os.listdir(tmp_path) == ["other.txt"]


CHINESE = ["天气", "电影", "音乐", "很好", "喜欢", "我们", "今天", "朋友"]


def test_vectors_in_another_encoding_are_refused_with_the_command(tmp_path: Path) -> None:
    numbers = np.arange(1, 17).reshape(8, 2)
    path = write(tmp_path / "word 2.vec", CHINESE, numbers, head="8 2\n")
    right = path.read_bytes()
    for encoding, said in (("gb18030", ":2: not valid UTF-8 (byte 0xcc)"), ("utf-16", ":1: UTF-16, not UTF-8")):
        path.write_bytes(right.decode().encode(encoding))
        with pytest.raises(ValueError) as caught:
            open_vectors(path, tmp_path, "--vectors")
        message = str(caught.value)
        assert message.startswith(f"--vectors {path}{said}")
        subprocess.run(["sh", "-c", message[message.index("iconv") :]], check=True)
        assert path.read_bytes().removeprefix(codecs.BOM_UTF8) == right
        assert open_vectors(path, tmp_path, "--vectors").words == CHINESE


def test_a_mark_is_no_part_of_the_first_word_and_a_broken_word_is_one_of_many(tmp_path: Path) -> None:
    """fastText cuts long words between bytes; other words show by then that the file is UTF-8."""
    lines = [f"{word} 1 {number}".encode() for number, word in enumerate(CHINESE)]
    path = tmp_path / "a.vec"
    path.write_bytes(codecs.BOM_UTF8 + b"\n".join(lines))
    assert open_vectors(path, tmp_path, "--vectors").words == CHINESE
    path.write_bytes(b"\n".join([*lines * 2, "长".encode()[:2] + b" 1 2"]))
    assert open_vectors(path, tmp_path, "--vectors").words == [*CHINESE * 2, "\ufffd"]


def test_a_file_is_read_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, numbers = random_vectors(20, 4)
    path = write(tmp_path / "glove.txt", words, numbers)
    first = open_vectors(path, tmp_path, "--vectors")
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "_convert", None)
        again = open_vectors(path, tmp_path, "--vectors")
    assert again.words == first.words and (again.unit == first.unit).all() and isinstance(again.unit, np.memmap)
    write(path, words, numbers[::-1])
    os.utime(path, ns=(1, 1))
    assert not (open_vectors(path, tmp_path, "--vectors").unit == first.unit).all()


@pytest.mark.parametrize(
    "line", ["cat 1.0", "cat 1.0 2.0 3.0", "cat 1.0 x", "cat 1.0 nan", "cat  1.0 2.0 3", "", "cat"]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(f"dog 1.0 2.0\nstone 0.5 0.5\n{line}\n")
    with pytest.raises(ValueError, match=r"glove.txt, line 3: a word and 2 finite numbers"):
        open_vectors(path, tmp_path, "--vectors")
    assert os.listdir(tmp_path) == ["glove.txt"], "nothing half-made is left"


def test_files_that_are_missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--vectors .*none.txt: cannot be read"):
        open_vectors(tmp_path / "none.txt", tmp_path, "--vectors")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="no vectors in it"):
        open_vectors(tmp_path / "empty.txt", tmp_path, "--vectors")
