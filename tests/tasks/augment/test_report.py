"""What an augmentation says of its vectors."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.augment import summary
from megatinybert.config.augment import AugmentOptions
from megatinybert.tasks.augment.output import Output
from megatinybert.tasks.augment.run import augment
from tests.helpers.augment_toys import write_task

Options = Callable[..., AugmentOptions]


def test_words_by_vectors_and_by_the_model_are_counted_apart(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", [("unseen bbird", "a"), ("kring bring", "b")])
    (tmp_path / "glove.txt").write_text("unseen 1 0.1\nhidden 1 0.2\n")
    asked = options(vectors=tmp_path / "glove.txt", copies=30)
    report = augment(asked, show_progress=False)
    rows = (tmp_path / "out.jsonl").read_text().split("\n")
    by_vectors = sum('"hidden ' in row for row in rows)
    assert report.totals.by_vectors == by_vectors and 0 < by_vectors < report.totals.words
    said = (
        f"{by_vectors:,} of the new words are from the vectors and {report.totals.words - by_vectors:,} from the model"
    )
    assert summary(asked, report).split("\n")[-1] == said and report.told.endswith(f"; {said}")
    assert augment(asked, show_progress=False).about_vectors == said, "of a file that is whole already"
    without = augment(options(output=tmp_path / "b.jsonl"), show_progress=False)
    assert not without.about_vectors and without.totals.by_vectors == 0


def test_what_finds_chinese_words_is_named_where_none_was_looked_up(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path / "task", [("电影很好看", "a"), ("天气不错", "b")])
    (tmp_path / "words.txt").write_text("电影 1 0.1\n音乐 1 0.2\n", encoding="utf-8")
    more = {"vectors": tmp_path / "words.txt", "candidates": 20}
    hint = "each Chinese character is a word here; --segmenter jieba looks whole words up in the vectors"
    told = augment(options(**more), show_progress=False).about_vectors
    assert told.startswith("0 of the new words are from the vectors and ") and told.endswith(f"model: {hint}")
    jieba = types.ModuleType("jieba")
    jieba.setLogLevel = lambda level: None  # type: ignore[attr-defined]
    jieba.cut = lambda text: [text[:2], *text[2:]]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jieba", jieba)
    followed = augment(options(**more, segmenter="jieba", output=tmp_path / "b.jsonl"), show_progress=False)
    assert followed.totals.by_vectors and hint not in followed.about_vectors
    write_task(tmp_path / "task", [("bbird", "a"), ("bring", "b")])
    plain = augment(options(**more, output=tmp_path / "c.jsonl"), show_progress=False)
    assert plain.totals.by_vectors == 0 and hint not in plain.about_vectors


def test_chunks_of_an_earlier_version_are_not_counted_as_none(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path / "task", [("unseen bbird", "a"), ("kring bring", "b")])
    (tmp_path / "glove.txt").write_text("unseen 1 0.1\nhidden 1 0.2\n")
    keep = Output.keep

    def keep_as_before(self: Output, chunk: object) -> None:
        keep(self, chunk)  # type: ignore[arg-type]
        (part,) = self.parts.glob("0*.jsonl")
        counts, lines = part.read_text().split("\n", 1)
        part.write_text(counts.rpartition(" ")[0] + "\n" + lines)

    monkeypatch.setattr(Output, "keep", keep_as_before)
    report = augment(options(vectors=tmp_path / "glove.txt"), show_progress=False)
    assert report.totals.by_vectors is None and report.about_vectors == "" and report.totals.words > 0
