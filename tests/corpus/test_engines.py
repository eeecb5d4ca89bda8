"""The fast tokenizer engine: the same ids as tokenizers, and found out where it is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from megatinybert.corpus import fast_engine
from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.engines import choose_engine, open_engine
from megatinybert.corpus.fast_engine import EngineDifference, EngineUnavailable, FastEngine
from megatinybert.corpus.hard_texts import hard_texts
from megatinybert.corpus.manifest import read_manifest
from megatinybert.corpus.texts import Texts
from megatinybert.corpus.tokenizer import load_tokenizer
from tests.helpers.strings import KINDS, adversarial_text, bert_tokenizer, random_text
from tests.helpers.texts import as_text, contents, documents, start, wait_for_progress

Build = Callable[..., BuildReport]

try:
    import nanotoken
except ImportError:
    nanotoken = None
needs_nanotoken = pytest.mark.skipif(nanotoken is None, reason="nanotoken is not installed: tests/requirements.txt")


class ByTokenizers:
    """Stands in for nanotoken's tokenizer: correct but for what `spoil` does to the ids of a call.

    spoil: (ids, ids given before) -> None, changes ids in place.
    """

    def __init__(self, tokenizer_json: str, spoil: Callable[[np.ndarray, int], None]) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._spoil, self._given = spoil, 0

    def encode_batch(
        self, texts: list[bytes], add_special_tokens: bool, parallel: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        encodings = self._tokenizer.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        ids = np.array([number for encoding in encodings for number in encoding.ids], dtype=np.uint32)
        self._spoil(ids, self._given)
        self._given += len(ids)
        return ids, np.cumsum([0, *(len(encoding.ids) for encoding in encodings)])


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[np.ndarray, int], None]], None]:
    """Puts a double with this `spoil` in nanotoken's place."""

    def put(spoil: Callable[[np.ndarray, int], None]) -> None:
        def opened(parts: dict[str, Any]) -> ByTokenizers:
            plain = {**parts, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            return ByTokenizers(json.dumps(plain), spoil)

        monkeypatch.setattr(fast_engine, "open_library", opened)
        monkeypatch.setattr(FastEngine, "version", staticmethod(lambda: "nanotoken 0.0"))

    return put


def every(period: int, first: int = 0) -> Callable[[np.ndarray, int], None]:
    """Spoils one id in `period`, from number `first` on."""

    def spoil(ids: np.ndarray, before: int) -> None:
        for number in range(len(ids)):
            if (before + number + 1) % period == 0 and before + number >= first:
                ids[number] = ids[number] + 1 if ids[number] < 100 else ids[number] - 1

    return spoil


def right(ids: np.ndarray, before: int) -> None:
    """Spoils nothing."""


def proof_tokens(tokenizer: Path) -> int:
    """How many ids the proof takes."""
    loaded = load_tokenizer(tokenizer)
    vocabulary = json.loads(loaded.to_str())["model"]["vocab"]
    return sum(len(loaded.encode(text, add_special_tokens=False).ids) for text in hard_texts(vocabulary))


@needs_nanotoken
@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_give_the_same_ids(kind: str) -> None:
    compare(kind, 1500, 500, seed=0)


@needs_nanotoken
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_give_the_same_ids_for_many_texts(kind: str) -> None:
    compare(kind, 100_000, 10_000, seed=1)
    every_character = [f"a{chr(code)}b {chr(code)}" for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    compare_texts(kind, every_character)


def compare(kind: str, random_texts: int, adversarial: int, seed: int) -> None:
    draw = random.Random(seed)
    texts = [random_text(draw) for _ in range(random_texts)] + [adversarial_text(draw) for _ in range(adversarial)]
    assert sum(map(len, texts)) > 20 * len(texts) and sum(not text.isascii() for text in texts) > len(texts) / 2
    unknown = compare_texts(kind, texts)
    assert unknown < sum(map(len, texts)) / 4, "most of the texts are in the vocabulary"


def compare_texts(kind: str, texts: list[str]) -> int:
    """How many ids are [UNK]."""
    tokenizer_json = bert_tokenizer(kind).to_str()
    fast, reference = (open_engine(tokenizer_json, name) for name in ("fast", "tokenizers"))
    unknown = 0
    for begin in range(0, len(texts), 5000):
        batch = Texts.of(texts[begin : begin + 5000])
        (ids, counts), (expected, expected_counts) = fast.encode(batch), reference.encode(batch)
        np.testing.assert_array_equal(counts, expected_counts)
        np.testing.assert_array_equal(ids, expected)
        unknown += int((expected == 1).sum())
    return unknown


@needs_nanotoken
def test_one_worker_opens_and_proves_the_engine_once(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = []
    prove = FastEngine._prove
    monkeypatch.setattr(FastEngine, "_prove", lambda engine, texts: (proofs.append(len(texts)), prove(engine, texts)))
    (tmp_path / "a.txt").write_text(as_text(documents(20)))
    build(tmp_path / "a.txt", tokenizer_engine="fast")
    assert len(proofs) == 1


@needs_nanotoken
def test_engines_workers_and_interruptions_change_no_byte(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    texts = documents(300, 1) + [["[SEP] a [MASK]ed bird", "déjà vu 😀 我们的世界 " + "b" * 120]] * 3
    (tmp_path / "a.txt").write_text(as_text(texts) + "river " * 20_000 + "\n", encoding="utf-8")
    small = {"block_bytes": 3000, "validation_fraction": 0.1, "shard_tokens": 4000, "commit_seconds": 0.0}
    build(tmp_path / "a.txt", output="slow", tokenizer_engine="tokenizers", **small)
    build(tmp_path / "a.txt", output="fast", tokenizer_engine="fast", **small)
    common = {**small, "input": [str(tmp_path / "a.txt")], "tokenizer": str(tokenizer)}
    two = start({**common, "output": str(tmp_path / "two"), "workers": 2, "tokenizer_engine": "fast"})
    assert two.communicate()[1] == "" and two.returncode == 0
    killed = start({**common, "output": str(tmp_path / "killed"), "workers": 2, "tokenizer_engine": "fast"})
    wait_for_progress(killed, tmp_path / "killed", 8)
    killed.kill()
    killed.communicate()
    assert not (tmp_path / "killed" / "manifest.json").exists()
    build(tmp_path / "a.txt", output="killed", tokenizer_engine="tokenizers", resume=True, **small)
    engines = {name: read_manifest(tmp_path / name).engines for name in ("slow", "fast", "two", "killed")}
    assert [name.split()[0] for name in engines["killed"]] == ["nanotoken", "tokenizers"]
    assert engines["fast"] == engines["two"] == engines["killed"][:1] and engines["slow"] == engines["killed"][1:]
    slow = contents(tmp_path / "slow")
    slow.pop("manifest.json")
    assert len(slow) > 5
    for name in ("fast", "two", "killed"):
        found = contents(tmp_path / name)
        assert "engines" in json.loads(found.pop("manifest.json")) and found == slow
    assert build(tmp_path / "a.txt", output="fast", tokenizer_engine="tokenizers", resume=True, **small).was_whole


def test_one_wrong_id_in_a_million_is_found(
    stand_in: Callable[..., None], build: Build, tmp_path: Path, tokenizer: Path
) -> None:
    part = as_text(documents(2000, words=40))
    (tmp_path / "a.txt").write_text(part * 12)
    stand_in(right)
    report = build(tmp_path / "a.txt", output="right", tokenizer_engine="fast")
    assert sum(split["tokens"] for split in report.manifest.totals.values()) > 1.5e6
    stand_in(every(1_000_000))
    with pytest.raises(EngineDifference) as raised:
        build(tmp_path / "a.txt", output="wrong", tokenizer_engine="auto")
    message = str(raised.value)
    assert "different ids for the text '" in message and "] and [" in message
    assert f"delete {tmp_path / 'wrong'}" in message and "--tokenizer-engine tokenizers" in message
    assert not (tmp_path / "wrong" / "manifest.json").exists()


def test_wrong_ids_beside_accents_are_found_by_the_sample(stand_in: Callable[..., None]) -> None:
    """What ids spell is not followed there."""
    stand_in(right)
    engine = open_engine(bert_tokenizer("multilingual").to_str(), "fast")
    assert isinstance(engine, FastEngine)
    texts = Texts.of(["".join(chr(0x4E00 + 7 * number) for number in range(180))] * 100)
    ids, ends = engine._encode(texts)
    engine._check_sample(texts, ids, ends)
    with pytest.raises(EngineDifference):
        engine._check_sample(texts, np.roll(ids, 1), ends)


def test_a_wrong_engine_is_not_used(
    stand_in: Callable[..., None], build: Build, tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text(as_text(documents(50)))
    build(tmp_path / "a.txt", output="expected", tokenizer_engine="tokenizers")
    stand_in(every(500))  # found by the proof
    choice = choose_engine(load_tokenizer(tokenizer), "auto")
    assert choice.name == "tokenizers" and choice.reason and "different ids" in choice.reason
    with pytest.raises(ValueError, match=r"--tokenizer-engine fast: .*different ids.*take --tokenizer-engine tok"):
        build(tmp_path / "a.txt", tokenizer_engine="fast")
    build(tmp_path / "a.txt", output="proof")
    first = proof_tokens(tokenizer)
    stand_in(every(500, first))  # found in the first block
    with pytest.raises(EngineDifference, match="Use --tokenizer-engine tokenizers"):
        build(tmp_path / "a.txt", output="asked", tokenizer_engine="fast")
    build(tmp_path / "a.txt", output="block")
    expected = contents(tmp_path / "expected")
    assert contents(tmp_path / "proof") == contents(tmp_path / "block") == expected


def test_without_the_package(build: Build, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(as_text(documents(20)))
    find_spec = fast_engine.find_spec
    monkeypatch.setattr(fast_engine, "find_spec", lambda name: None if name == "nanotoken" else find_spec(name))
    choice = choose_engine(load_tokenizer(tokenizer), "auto")
    told = "nanotoken is not installed: pip install nanotoken==0.1.0 (optional: the same ids, over 20 times as fast)"
    assert choice.name == "tokenizers" and choice.reason == told
    assert [name.split()[0] for name in build(tmp_path / "a.txt").manifest.engines] == ["tokenizers"]
    with pytest.raises(ValueError, match=r"--tokenizer-engine fast: nanotoken is not installed: pip install"):
        build(tmp_path / "a.txt", output="fast", tokenizer_engine="fast")
    assert not (tmp_path / "fast").exists()


def test_other_tokenizers_are_left_to_the_library() -> None:
    bert = bert_tokenizer("cased")
    for change, problem in (
        ({"pre_tokenizer": pre_tokenizers.Whitespace()}, "the pre_tokenizer is Whitespace, not BertPreTokenizer"),
        ({"normalizer": normalizers.NFC()}, "the normalizer is NFC, not BertNormalizer"),
        ({"model": models.BPE({"a": 0}, [])}, "the model is BPE, not WordPiece"),
    ):
        changed = Tokenizer.from_str(bert.to_str())
        for part, value in change.items():
            setattr(changed, part, value)
        with pytest.raises(EngineUnavailable, match=problem):
            open_engine(changed.to_str(), "fast")
    bert.add_tokens([AddedToken("bird", normalized=False)])
    with pytest.raises(EngineUnavailable, match=r"added tokens that are not special \(bird\)"):
        open_engine(bert.to_str(), "fast")
    assert choose_engine(bert, "tokenizers").reason is None
