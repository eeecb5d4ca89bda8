"""What spoils a text without an error is told."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from megatinybert.config.flat import OptionNames
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import BuildReport, build_corpus
from megatinybert.corpus.describe import build_summary, manifest_facts
from megatinybert.corpus.manifest import Manifest, read_manifest
from megatinybert.corpus.texts import Texts
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.corpus.vocabulary import Vocabulary, are_mostly_unknown, is_chinese, sample_of, scripts_of
from tests.helpers.texts import CHINESE, SPECIALS, VOCABULARY, as_text, command, documents

Build = Callable[..., BuildReport]
CYRILLIC = "абвгдежзиклмнопрстуфхцчшщыэюя"


def folder_of(folder: Path, vocabulary: list[str], **config: object) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_unknown_tokens_are_counted_without_sep(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(["babird bastone"] * 147 + ["babird ζ", "η θ", "bastone babird"]))
    report = build(tmp_path / "a.txt", drop_duplicates=False)
    assert report.manifest.unknown_tokens == 3
    summary = build_summary(report, OptionNames())
    assert "unknown tokens ([UNK]): 3 (1 %)" in summary and "warning" not in summary  # of 300: not above
    (tmp_path / "a.txt").write_text("\n".join(["babird bastone"] * 146 + ["babird ζ", "η θ", "bastone δ"]))
    report = build(tmp_path / "a.txt", output="more")
    for told in (build_summary(report, OptionNames()), manifest_facts(report.manifest)):
        assert "unknown tokens ([UNK]): 4 (1.34 %)" in told
        lacks = f"{report.manifest.tokenizer_name} lacks some characters of this text (in a sample δ)"
        rest = (
            "The rest is read as usual; if they matter, replace them, or take a tokenizer, or a teacher, that has them"
        )
        assert f"warning: 1.3 % of the tokens are [UNK], which say nothing: {lacks}. {rest}" in told


@pytest.mark.parametrize(("unknown", "tokens", "expected"), [(0, 0, False), (5, 10, False), (6, 11, True)])
def test_a_text_is_mostly_unknown_above_half_of_its_tokens(unknown: int, tokens: int, expected: bool) -> None:
    assert are_mostly_unknown(unknown, tokens) is expected


def test_a_text_of_another_language_and_one_with_characters_that_are_lacking(tmp_path: Path) -> None:
    bert = Vocabulary(load_tokenizer(folder_of(tmp_path / "t", [*SPECIALS, "bird", *CHINESE])), "bert")
    many = {character: 1 for character in "☃☀☁☂★☆☎☏☐☑"} | {"😀": 3, "\ufe0f": 3, "。": 9, CHINESE[0]: 9}
    told = bert.unknowns(2, 100, many)
    assert (
        told and "bert lacks some characters of this text (in a sample 。 😀 ☀ ☁ ☂ ☃ ★ ☆ and 4 more). The rest" in told
    )
    answered = bert.unknowns(2, 100, many, learnt=False)
    assert answered and answered.endswith("and 4 more). The rest is read as usual")
    assert "bert does not know some words of this text. The rest" in str(bert.unknowns(2, 100))
    for share in (11, 60):
        told = bert.unknowns(share, 100, many)
        assert told and "of its language (for Chinese hfl/chinese-bert-wwm-ext, say: docs/recipes.md#chinese)" in told
        assert "look whether its language" in str(bert.unknowns(share, 100, many, learnt=False))
    assert bert.unknowns(1, 100, many) is None


def test_unknown_tokens_of_documents_of_many_blocks(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(as_text([["bird ζ stone"] * 100, ["bird"]]))
    for block_bytes in (100, 1 << 20):
        manifest = build(tmp_path / "a.txt", output=str(block_bytes), block_bytes=block_bytes).manifest
        assert manifest.unknown_tokens == 100


def test_an_old_manifest_and_an_old_build_say_nothing_of_them(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(["bird stone ζ"] * 50))
    build(tmp_path / "a.txt")
    path = tmp_path / "shards" / "manifest.json"
    manifest = json.loads(path.read_text())
    for field in ("records", "left_out_records", "unknown_tokens", "duplicate_documents", "warnings"):
        del manifest[field]
    path.write_text(json.dumps(manifest))
    assert "UNK" not in manifest_facts(read_manifest(tmp_path / "shards"))
    assert build(tmp_path / "a.txt", resume=True).was_whole
    (tmp_path / "b.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="not valid UTF-8"):
        build(tmp_path / "a.txt", tmp_path / "b.txt", output="old", commit_seconds=0.0)
    progress = json.loads((tmp_path / "old" / "progress.json").read_text())
    assert progress["blocks"] == 2 and progress.pop("contents")["unknown_tokens"] == 50
    (tmp_path / "old" / "documents.hashes.partial").unlink()
    (tmp_path / "old" / "progress.json").write_text(json.dumps(progress))
    resumed = build(tmp_path / "a.txt", tmp_path / "b.txt", output="old", resume=True, invalid_utf8="replace").manifest
    assert resumed.unknown_tokens is None and resumed.duplicate_documents is None and resumed.warnings == []


def test_capitals_under_a_tokenizer_that_lower_cases(tmp_path: Path) -> None:
    vocabulary = [*VOCABULARY, *(word.capitalize() for word in words(string.ascii_lowercase, 18)), "##Ring", "É"]
    (tmp_path / "a.txt").write_text(as_text(documents(20)))

    def told(folder: Path) -> list[str]:
        options = BuildOptions(
            input=[str(tmp_path / "a.txt")], tokenizer=str(folder), output=tmp_path / f"{folder.name}-out", workers=1
        )
        return build_corpus(options).manifest.warnings

    (warning,) = told(folder_of(tmp_path / "alone", vocabulary))
    assert warning.startswith(
        f"{tmp_path / 'alone'} lower-cases the text, so 20 of its {len(vocabulary) - 5} tokens, which have capitals "
        "(such as ##"
    )
    assert '{"do_lower_case": false}' in warning
    assert told(folder_of(tmp_path / "cased", vocabulary, do_lower_case=False)) == []
    assert told(folder_of(tmp_path / "few", [*VOCABULARY, "Bird", "É"])) == []


def words(letters: str, count: int) -> list[str]:
    draw = random.Random(0)
    return sorted({"".join(draw.choices(letters, k=4)) for _ in range(count)})


@pytest.mark.parametrize(
    ("vocabulary", "text", "share"),
    [
        ([*words(string.ascii_lowercase, 2000), *CYRILLIC], "эта река", "100 % of the text's letters are Cyrillic"),
        ([*words(string.ascii_lowercase, 2000), *CYRILLIC], "эта большая river", "67 % of the text's letters are"),
        ([*words(string.ascii_lowercase, 2000), *CHINESE[:3]], CHINESE, "100 % of the text's letters are Cjk"),
        (list(map(chr, range(0x4E00, 0x5A00))), "the river", "100 % of the text's letters are Latin"),
        ([*words(string.ascii_lowercase, 2000), *CYRILLIC], "эта long rivers", None),
        ([*words(string.ascii_lowercase, 2000), *words(CYRILLIC, 40)], "эта река", None),
        (list(map(chr, range(0x4E00, 0x5A00))), CHINESE, None),
        (words(string.ascii_lowercase, 2000), "12 34 !?", None),
    ],
)
def test_a_text_of_another_script(tmp_path: Path, vocabulary: list[str], text: str, share: str | None) -> None:
    tokenizer = load_tokenizer(folder_of(tmp_path / "t", [*SPECIALS, *vocabulary]))
    found = Vocabulary(tokenizer, "bert").warnings(scripts_of(sample_of(Texts.of([text]))), {}, 0, 100)
    assert (not found) if share is None else (share in found[0] and len(found) == 1)


def test_bytes_are_read_as_letters() -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    for word, known in (("река", True), ("river", False)):
        ((pre, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)
        vocabulary = {token: number for number, token in enumerate([*alphabet, pre])}
        tokenizer = Tokenizer(models.BPE(vocabulary, []))
        from tokenizers import decoders

        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
        found = Vocabulary(tokenizer, "roberta")
        assert found.unknown_id is None
        assert (found.warnings({"CYRILLIC": 9}, {}, 0, 9) == []) == known


def test_a_sample_reaches_all_over_the_text() -> None:
    lines = ["river " * 50] * 500 + ["天"] * 500
    assert scripts_of(sample_of(Texts.of(lines))).keys() == {"LATIN", "CJK"}
    assert scripts_of(sample_of(Texts.of([]))) == scripts_of({"1": 1, ".": 1}) == {}


def test_a_manifest_keeps_its_warnings(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("эта река\n" * 30)
    manifest: Manifest = build(tmp_path / "a.txt").manifest
    assert [warning.split(" ")[0] for warning in manifest.warnings] == ["100", "100.0"]
    assert read_manifest(tmp_path / "shards") == manifest


@pytest.mark.parametrize(("line", "code"), [("bird bird bird ☃", 0), ("☃", 1)])
def test_a_build_of_a_text_that_is_mostly_unknown_does_not_end_as_a_success(
    tokenizer: Path, tmp_path: Path, line: str, code: int
) -> None:
    (tmp_path / "a.txt").write_text(f"{line}\n" * 50, encoding="utf-8")
    given = ("--input", tmp_path / "a.txt", "--tokenizer", tokenizer, "--output", tmp_path / "shards", "--workers", 1)
    done = command(*given)
    assert done.returncode == code and read_manifest(tmp_path / "shards").unknown_tokens
    assert ("error: more than half of the tokens are [UNK]: a run refuses these shards" in done.stderr) == bool(code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今天下雨了 BERT", True),
        ("今天", True),
        ("bird 今天", False),
        ("今天は雨です", False),
        ("한국 今天下雨了", False),
        ("1 2", False),
    ],
)
def test_text_that_is_chinese_beyond_doubt(text: str, expected: bool) -> None:
    tokenizer = Tokenizer(models.WordLevel({character: number for number, character in enumerate(sorted({*text}))}))
    ids = np.array([tokenizer.token_to_id(character) for character in text])
    assert is_chinese(tokenizer, ids) is expected
