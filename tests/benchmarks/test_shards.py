"""The benchmarks of shards and loader: the ways compared do the same work, and the numbers are what they are called."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cold, loader, pipelines, shards
from benchmarks.corpora import SPECIAL, write_corpus_folder
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.samples.windows import TokenStream, Windows
from tests.helpers.texts import as_text, documents

pytestmark = pytest.mark.slow

MEGATRON = importlib.util.find_spec("megatron") is not None
NANOTOKEN = importlib.util.find_spec("nanotoken") is not None
PNG = b"\x89PNG"


def test_shards_compares_ways_that_give_the_same_tokens(
    tmp_path: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, report, figure = (tmp_path / name for name in ("in.txt", "report.json", "figure.png"))
    text.write_text(as_text(documents(300)))
    tiny = ["--input", str(text), "--tokenizer", str(tokenizer), "--megabytes", "0.3", "--repeats", "2"]
    shards.main([*tiny, "--workers", "1", "--json", str(report), "--figure", str(figure)])
    results = json.loads(report.read_text())
    repeated = results["text_bytes"] / (text.stat().st_size + 1)
    assert repeated == round(repeated) and 0.3e6 <= results["text_bytes"] < 0.3e6 + text.stat().st_size + 2
    assert results["documents"] == 300 * repeated
    lines = [line for document in documents(300) for line in document]
    ids = [encoding.ids for encoding in load_tokenizer(tokenizer).encode_batch(lines, add_special_tokens=False)]
    expected = sum(map(len, ids)) * repeated
    ways = {"floor", "product"}
    ways |= {"megatron"} if MEGATRON else set()
    ways |= {"nanotoken", "product-tokenizers"} if NANOTOKEN else set()
    assert results["tokens"] == {**dict.fromkeys(ways, expected), "cp": 0}
    (row,) = results["rows"]
    assert row["workers"] == 1 and {way: len(times) for way, times in row["seconds"].items()} == dict.fromkeys(
        {*ways, "cp"}, 2
    )
    for way in ways:
        median = np.median(row["seconds"][way])
        assert row["tokens_per_second"][way] == pytest.approx(expected / median)
        assert row["megabytes_per_second"][way] == pytest.approx(results["text_bytes"] / 1e6 / median)
        cpu_seconds = max(np.median(row["cpu_seconds"][way]), 0.01)
        assert row["megabytes_per_cpu_second"][way] == pytest.approx(results["text_bytes"] / 1e6 / cpu_seconds)
        # One core: no more CPU seconds than wall seconds, but for ticks of the clock and how workers end.
        assert cpu_seconds < 1.1 * median + 0.1
    assert row["megabytes_per_cpu_second"]["floor"] < row["megabytes_per_cpu_second"]["cp"]
    speed = row["megabytes_per_second"]
    assert row["product_over_floor"] == pytest.approx(speed["product"] / speed["floor"])
    if MEGATRON:
        assert row["product_over_megatron"] == pytest.approx(speed["product"] / speed["megatron"])
    assert figure.read_bytes().startswith(PNG)
    printed = capsys.readouterr().out
    assert "| 1 | product |" in printed and "product over floor" in printed


def test_several_workers_are_ready_before_the_clock_runs(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "in.txt").write_text(as_text(documents(50)))
    text = pipelines.Text(tmp_path / "in.txt", str(tokenizer))
    alone = pipelines.floor(text, 1, tmp_path)
    began = time.perf_counter()
    built = pipelines.product(text, 2, tmp_path, "tokenizers")  # the fast engine has threads
    whole = time.perf_counter() - began
    assert built.tokens == alone.tokens > 0
    assert 0 < built.seconds < whole / 2, "processes take longer to start than this little text to encode"
    assert (
        sum(
            len(shard.tokens)
            for split in ("train", "validation")
            for shard in open_corpus(tmp_path / "product", split).shards
        )
        == built.tokens + 50
    )


@pytest.mark.skipif(not MEGATRON, reason="megatron-core is not installed")
def test_megatrons_way_writes_a_dataset_of_the_documents(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "in.txt").write_text(as_text(documents(40)))
    done = pipelines.megatron(pipelines.Text(tmp_path / "in.txt", str(tokenizer)), 1, tmp_path)
    (shard,) = open_corpus(tmp_path / "megatron").shards
    assert (shard.documents, shard.n_tokens) == (40, done.tokens + 40)
    loaded = load_tokenizer(tokenizer)
    assert [loaded.decode(shard.document_sequences(number)[0].tolist()) for number in range(40)] == [
        " ".join(lines) for lines in documents(40)
    ]


def test_made_text_is_sentences_of_the_vocabulary(tokenizer: Path) -> None:
    text = shards.made_text(str(tokenizer), 5000)
    assert text == shards.made_text(str(tokenizer), 5000)
    parted = text.strip().split("\n\n")
    assert len(parted) > 1 and all(document.strip() for document in parted)
    ids = load_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids
    assert len(ids) > 5000 and 1 not in ids, "some words are of several pieces, and none is unknown"


def test_loader_measures_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, figure = tmp_path / "report.json", tmp_path / "figure.png"
    monkeypatch.setattr(loader, "_FEWEST_DRAWN", 4096)
    tiny = ["--tokens", "20000", "--length", "16", "--batch", "8", "--repeats", "2"]
    loader.main([*tiny, "--json", str(report), "--figure", str(figure)])
    results = json.loads(report.read_text())
    assert [(row["tokens"], row["shards"]) for row in results["windows"][::2]] == [(20_000, 1), (20_000_000, 1000)]
    for row in results["windows"]:
        assert row["tokens_per_second"] == pytest.approx(4096 / np.median(row["seconds"]))
    assert {row["tokens"] for row in results["order"]} == {10**power for power in range(6, 14)}
    for row in results["order"]:
        assert row["microseconds_per_sample"] == pytest.approx(np.median(row["seconds"]) * 1e6 / 256)
    opening = results["opening"]
    assert opening["shards"] == 1000 and 0 < opening["median_seconds"] < 1 and opening["bytes"] > 0
    assert [(row["windows"], row["random"]) for row in results["cold"]] == [(1539, False), (1539, True)] * 2
    assert figure.read_bytes().startswith(PNG)


def test_a_corpus_of_links_is_whole_and_as_large_as_it_says(tmp_path: Path) -> None:
    corpus = open_corpus(write_corpus_folder(tmp_path / "corpus", 250, shards=3, links=True))
    assert [len(shard.tokens) for shard in corpus.shards] == [250] * 3
    assert [shard.sequence_lengths.tolist() for shard in corpus.shards] == [[100, 100, 50]] * 3


def test_a_cold_read_counts_what_the_disk_delivers(tmp_path: Path) -> None:
    folder = write_corpus_folder(tmp_path / "corpus", 500_000)

    def windows() -> Windows:
        return Windows(TokenStream(open_corpus(folder).shards), 128, SPECIAL, SPECIAL.vocab_size, 0.0, seed=0)

    everything = cold.cold_read(windows(), windows().samples, 64, random=False)
    if everything is None:
        pytest.skip("the bytes that this file system reads are not counted")
    assert 1.0 <= everything["amplification"] < 1.1, "all of the corpus is used, so nothing is read in vain"
    few = cold.cold_read(windows(), 20, 20, random=True)
    assert few is not None and 10 < few["amplification"] < 2 * 4096 / 252, "a page of 4,096 bytes for most windows"
    assert cold.readahead_kib(tmp_path) is None or cold.readahead_kib(tmp_path) >= 0
