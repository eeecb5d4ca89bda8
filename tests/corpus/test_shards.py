"""The .bin/.idx format, the manifest, verification, and the command that shows them."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.manifest import Manifest, ShardEntry, read_manifest, totals
from megatinybert.corpus.shards import (
    MappedFiles,
    bin_path,
    idx_path,
    open_corpus,
    open_shard,
    write_index,
)
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.corpus.verify import verify
from tests.helpers.texts import CHINESE, SPECIALS, as_text, documents
from tests.helpers.toys import REPOSITORY, environment

Build = Callable[..., BuildReport]


def write_dataset(prefix: Path, dtype: type, sequences: list[list[int]], document_ends: list[int]) -> Path:
    flat: np.ndarray = np.array([token for sequence in sequences for token in sequence], dtype=dtype)
    bin_path(prefix).write_bytes(flat.tobytes())
    lengths = np.array([len(sequence) for sequence in sequences])
    write_index(idx_path(prefix), flat.dtype, lengths, np.array(document_ends, dtype=np.int64))
    return prefix


@pytest.fixture
def corpus(tmp_path: Path, build: Build) -> Path:
    (tmp_path / "in.txt").write_text(as_text(documents(300)))
    build(tmp_path / "in.txt", validation_fraction=0.1, shard_tokens=5000)
    return tmp_path / "shards"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.uint16])
def test_a_megatron_dataset_of_any_integer_type(tmp_path: Path, dtype: type) -> None:
    prefix = write_dataset(tmp_path / "my.data-1", dtype, [[1, 2, 3], [4], [5, 6]], [2, 3])
    shard = pickle.loads(pickle.dumps(open_corpus(prefix))).shards[0]
    assert shard.dtype == dtype and (shard.n_tokens, shard.sequences, shard.documents) == (6, 3, 2)
    assert shard.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert shard.sequence_lengths.tolist() == [3, 1, 2]
    assert shard.document_indices.tolist() == [0, 2, 3]
    assert [ids.tolist() for ids in shard.document_sequences(1)] == [[5, 6]]
    assert open_corpus(prefix, "validation").shards == []
    assert list(verify(prefix)) == [("my.data-1", [])]


def test_an_index_with_megatrons_sequence_modes_is_read(tmp_path: Path) -> None:
    prefix = write_dataset(tmp_path / "p", np.int32, [[1, 2], [3]], [1, 2])
    with idx_path(prefix).open("ab") as file:
        file.write(b"\0\1")
    assert open_shard(prefix).document_indices.tolist() == [0, 1, 2]


def test_an_empty_dataset_is_read(tmp_path: Path) -> None:
    shard = open_shard(write_dataset(tmp_path / "p", np.uint16, [], []))
    assert len(shard.tokens) == len(shard.sequence_lengths) == 0 and shard.document_indices.tolist() == [0]


def test_damaged_datasets_are_refused(tmp_path: Path) -> None:
    prefix = write_dataset(tmp_path / "p", np.uint16, [[1, 2], [3]], [1, 2])
    whole = {path: path.read_bytes() for path in (bin_path(prefix), idx_path(prefix))}
    for path, data, message in (
        (bin_path(prefix), b"\0" * 4, "has 4 bytes, but its index says 6"),
        (idx_path(prefix), b"", "not an index"),
        (idx_path(prefix), whole[idx_path(prefix)][:-1], "cut short: 81 bytes, where its counts need 82"),
        (idx_path(prefix), whole[idx_path(prefix)].replace(b"\x08", b"\x07", 1), "type code 7"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            open_shard(prefix)
        path.write_bytes(whole[path])
    with pytest.raises(ValueError, match=r"without \.bin"):
        open_corpus(bin_path(prefix))
    with pytest.raises(ValueError, match="no such file"):
        open_corpus(tmp_path / "nowhere")


def test_the_foreign_reader_agrees_sequence_by_sequence(corpus: Path) -> None:
    pytest.importorskip("megatron.core", reason="megatron-core is not installed")
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    for split in ("train", "validation"):
        for shard in open_corpus(corpus, split).shards:
            theirs = IndexedDataset(str(shard.prefix), multimodal=False, mmap=True)
            assert len(theirs) == shard.sequences
            ours = [ids for d in range(shard.documents) for ids in shard.document_sequences(d)]
            for mine, other in zip(ours, theirs, strict=True):
                assert other.dtype == mine.dtype == np.uint16 and np.array_equal(mine, other)
            assert np.array_equal(theirs.document_indices, shard.document_indices)


def test_what_a_corpus_says_is_what_it_holds(corpus: Path, tokenizer: Path) -> None:
    manifest = read_manifest(corpus)
    loaded = load_tokenizer(tokenizer)
    assert manifest.tokenizer_fingerprint == tokenizer_fingerprint(loaded)
    assert manifest.special_ids == {"pad": 0, "cls": 2, "sep": 3, "mask": 4}
    found = []
    for split in ("train", "validation"):
        opened = open_corpus(corpus, split)
        total = manifest.totals[split]
        assert opened.n_tokens == total["tokens"] == sum(len(shard.tokens) for shard in opened.shards) > 0
        for shard in opened.shards:
            for number in range(shard.documents):
                sequences = shard.document_sequences(number)
                assert sequences[-1][-1] == 3 and sum((ids == 3).sum() for ids in sequences) == 1
                found.append([loaded.decode(ids.tolist(), skip_special_tokens=True) for ids in sequences])
    assert sorted(found) == sorted(documents(300))
    for shard in open_corpus(corpus).shards[:-1]:  # the document that reaches the limit is the last one
        last = sum(len(ids) for ids in shard.document_sequences(shard.documents - 1))
        assert shard.n_tokens - last < 5000 <= shard.n_tokens


def test_verify_finds_any_flipped_byte(corpus: Path) -> None:
    assert all(not problems for _, problems in verify(corpus))
    draw = np.random.default_rng(0)
    for path in sorted([*corpus.glob("*.bin"), *corpus.glob("*.idx")]):
        whole = path.read_bytes()
        for place in (0, len(whole) - 1, int(draw.integers(len(whole)))):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << int(draw.integers(8))
            path.write_bytes(flipped)
            found = [(prefix, problems) for prefix, problems in verify(corpus) if problems]
            assert found == [(path.stem, [f"{path} is corrupt: its checksum is not the manifest's"])]
        path.write_bytes(whole)


def test_a_missing_or_short_file_is_named(corpus: Path) -> None:
    bin_path(corpus / "train-00001").unlink()
    with idx_path(corpus / "train-00000").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError) as raised:
        open_corpus(corpus)
    assert "train-00001.bin is missing" in str(raised.value) and "train-00000.idx has" in str(raised.value)
    assert [name for name, problems in verify(corpus) if problems] == ["train-00000", "train-00001"]
    assert open_corpus(corpus, "validation").n_tokens  # the other split is whole


def test_a_folder_without_a_manifest_is_unfinished(corpus: Path) -> None:
    whole = (corpus / "manifest.json").read_text()
    (corpus / "manifest.json").rename(corpus / "progress.json")
    with pytest.raises(ValueError, match=r"unfinished.*--resume"):
        open_corpus(corpus)
    (corpus / "progress.json").unlink()
    with pytest.raises(ValueError, match="holds no manifest"):
        open_corpus(corpus)
    manifest = json.loads(whole)
    manifest["shards"][0]["tokens"] += 1
    (corpus / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="totals are not the sums"):
        open_corpus(corpus)
    (corpus / "manifest.json").write_text('{"format_version": 1')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        open_corpus(corpus)


def test_a_thousand_shards_are_opened_at_once_and_stay_mapped(corpus: Path) -> None:
    manifest = read_manifest(corpus)
    first = manifest.shards[0]
    entries: list[ShardEntry] = []
    for index in range(1000):
        entries.append(first.model_copy(update={"prefix": f"train-1{index:04d}"}))
        for kind in ("bin", "idx"):
            (corpus / f"train-1{index:04d}.{kind}").hardlink_to(corpus / f"{first.prefix}.{kind}")
    big: Manifest = manifest.model_copy(update={"shards": entries, "totals": totals(entries)})
    (corpus / "manifest.json").write_text(big.model_dump_json())
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        opened = open_corpus(corpus)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.2
    assert len(opened.shards) == 1000 and opened.n_tokens == 1000 * first.tokens
    assert all(len(shard.tokens) == first.tokens for shard in opened.shards)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > 2000:
        mapped = [shard.tokens for shard in opened.shards]
        assert all(a is shard.tokens for a, shard in zip(mapped, opened.shards, strict=True)), "each is mapped once"


def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    program = """
import resource
from megatinybert.corpus.shards import MappedFiles
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 40))
assert MappedFiles().tokens.cache_parameters()["maxsize"] == 20
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (40, 40)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_map_lives_as_long_as_its_tokens_are_used(corpus: Path) -> None:
    files = MappedFiles(limit=1)
    first, second = (replace(shard, _files=files) for shard in open_corpus(corpus).shards[:2])
    tail = first.tokens[-10:]
    expected = np.fromfile(bin_path(first.prefix), first.dtype)[-10:]
    assert second.tokens[0] >= 0  # the first shard is no longer among the mapped ones
    assert np.array_equal(tail, expected)
    with pytest.raises(ValueError, match="read-only"):
        tail[0] = 1


def test_mapped_files_share_one_limit_after_pickling(corpus: Path) -> None:
    opened = pickle.loads(pickle.dumps(open_corpus(corpus)))
    assert len({id(shard._files) for shard in opened.shards}) == 1
    assert isinstance(opened.shards[0]._files, MappedFiles)


def test_special_tokens_in_text_are_text(tokenizer: Path) -> None:
    loaded = load_tokenizer(tokenizer)
    assert loaded.truncation is None and loaded.padding is None
    ids = loaded.encode("a [SEP] b [MASK] " * 20, add_special_tokens=False).ids
    assert not {loaded.token_to_id(name) for name in SPECIALS} & set(ids)
    assert loaded.encode("[SEP]", add_special_tokens=False).tokens == ["[", "s", "##e", "##p", "]"]


def test_a_fingerprint_is_of_what_decides_the_ids(tokenizer: Path, tmp_path: Path) -> None:
    expected = tokenizer_fingerprint(load_tokenizer(tokenizer))
    copy = shutil.copytree(tokenizer, tmp_path / "copy")
    code = (
        "import sys; from megatinybert.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint as hashed;"
        "print(hashed(load_tokenizer(sys.argv[1])), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(copy)], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == [expected, "False"]
    (copy / "tokenizer.json").unlink()  # as TinyBERT is published: vocab.txt and a config without a model type
    (copy / "config.json").write_text('{"hidden_size": 312}')
    assert tokenizer_fingerprint(load_tokenizer(copy)) == expected
    (copy / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert tokenizer_fingerprint(load_tokenizer(copy)) != expected


def test_a_fingerprint_does_not_depend_on_the_way_of_loading(tokenizer: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    copy = shutil.copytree(tokenizer, tmp_path / "copy")
    (copy / "tokenizer.json").unlink()
    loaded = AutoTokenizer.from_pretrained(copy)
    loaded.save_pretrained(tmp_path / "saved")
    expected = tokenizer_fingerprint(load_tokenizer(tokenizer))
    assert tokenizer_fingerprint(loaded.backend_tokenizer) == expected
    assert tokenizer_fingerprint(load_tokenizer(tmp_path / "saved")) == expected


def test_special_ids_and_what_is_missing(tokenizer: Path) -> None:
    loaded = load_tokenizer(tokenizer)
    assert special_ids(loaded) == (2, 3, 0, 4, loaded.get_vocab_size())
    with pytest.raises(ValueError, match=r"no \[MASK\]"):
        text = loaded.to_str().replace("[MASK]", "[HIDE]")
        special_ids(Tokenizer.from_str(text))


def test_an_unknown_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="cannot load the tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot read .*tokenizer\.json"):
        load_tokenizer(tmp_path)


def test_the_inspection_command(corpus: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPOSITORY / "data_prep" / "inspect_shards.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    shown = run(str(corpus), "--decode", "2")
    manifest = read_manifest(corpus)
    assert shown.returncode == 0 and f"{manifest.totals['train']['tokens']:,}" in shown.stdout
    assert "train-00000, document 1" in shown.stdout and shown.stdout.count("[SEP]") == 2
    for more in ([], ["--decode", "2"]):
        verified = run(str(corpus), *more, "--verify").stdout
        assert verified.startswith(run(str(corpus), *more).stdout) and verified.endswith("all intact\n")
    with idx_path(corpus / "train-00001").open("r+b") as file:
        file.seek(40)
        file.write(b"\xff")
    for more in ([], ["--decode", "2"]):
        broken = run(str(corpus), *more, "--verify")
        assert broken.returncode == 1 and "train-00001.idx is corrupt" in broken.stderr
        assert broken.stdout.endswith("1 file damaged\n") and broken.stdout.count("\n") == 1
    prefix = run(str(corpus / "train-00000"))
    assert prefix.returncode == 0 and "uint16" in prefix.stdout
    negative = write_dataset(tmp_path / "negative", np.int16, [[1, -7]], [1])
    refused = run(str(negative), "--decode", "1", "--tokenizer", manifest.tokenizer_name)
    assert refused.returncode == 2 and "negative: document 0 has token id -7, which no token has" in refused.stderr
    nameless = run(str(corpus / "train-00000"), "--decode", "1")
    assert nameless.returncode == 2 and nameless.stderr.startswith("error: a Megatron dataset does not say")
    for more in ([], ["--verify"]):
        gone = run(str(tmp_path / "gone"), *more)
        assert gone.returncode == 2 and "is neither a folder of shards" in gone.stderr


def test_chinese_and_characters_beyond_the_vocabulary(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "in.txt").write_text(f"{CHINESE}\n\n{CHINESE}猫\n", encoding="utf-8")
    build(tmp_path / "in.txt")
    (shard,) = open_corpus(tmp_path / "shards").shards
    loaded = load_tokenizer(tokenizer)
    expected = [loaded.token_to_id(character) for character in CHINESE]
    assert [ids.tolist() for ids in shard.document_sequences(0)] == [[*expected, 3]]
    assert [ids.tolist() for ids in shard.document_sequences(1)] == [[*expected, loaded.token_to_id("[UNK]"), 3]]
