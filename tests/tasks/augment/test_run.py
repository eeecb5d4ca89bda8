"""Augmentation as a whole: rows, labels, resuming, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatinybert.config.augment import AugmentOptions
from megatinybert.tasks.augment import chunks
from megatinybert.tasks.augment.run import augment, select
from megatinybert.tasks.reading.read import open_task, read_rows
from tests.helpers.augment_toys import WORDS, sentence, write_masked_lm, write_task, written
from tests.helpers.processes import wait_until
from tests.helpers.toys import REPOSITORY, environment

Options = Callable[..., AugmentOptions]
ROWS = [(sentence(number), "good" if number % 3 else 'so-"so"') for number in range(40)]
PAIRS = [(f"{sentence(number)} one", f"{sentence(number + 9, 3)} two", str(number % 2)) for number in range(20)]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_ROWS", 4)


def test_every_row_is_followed_by_its_copies(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", ROWS)
    report = augment(options(), show_progress=False)
    rows = written(tmp_path / "out.jsonl")
    starts = [place for place, row in enumerate(rows) if row["text_a"] in {text for text, _ in ROWS}]
    assert [(rows[place]["text_a"], rows[place]["label"]) for place in starts] == ROWS, "originals come first, in order"
    changed = 0
    for start, end, (text, label) in zip(starts, [*starts[1:], len(rows)], ROWS, strict=True):
        copies = rows[start + 1 : end]
        assert 1 <= len(copies) <= 4 and len({copy["text_a"] for copy in copies}) == len(copies)
        for copy in copies:
            assert copy.keys() == {"text_a", "label"} and copy["label"] == label
            changed += sum(a != b for a, b in zip(copy["text_a"].split(), text.split(), strict=True))
    totals = report.totals
    assert (totals.rows, totals.selected, totals.rows_out, totals.words) == (40, 40, len(rows), changed)
    assert not (tmp_path / "out.jsonl.parts").exists()


def test_both_texts_of_a_pair_keep_together(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", PAIRS)
    augment(options(copies=8), show_progress=False)
    current = -1
    both = 0
    for row in written(tmp_path / "out.jsonl"):
        if current + 1 < len(PAIRS) and (row["text_a"], row["text_b"]) == PAIRS[current + 1][:2]:
            current += 1
        text_a, text_b, label = PAIRS[current]
        assert row["label"] == label
        same = [
            [new == old for new, old in zip(row[key].split(), text.split(), strict=True)]
            for key, text in (("text_a", text_a), ("text_b", text_b))
        ]
        # Each copy is of this very row: words that were not drawn are still there, in both texts.
        both += not all(same[0]) and not all(same[1])
    assert current == len(PAIRS) - 1 and both > 2 * len(PAIRS)


def test_the_file_is_read_back_as_training_rows(tmp_path: Path, options: Options) -> None:
    text = f'  He said "{WORDS[0]}"\u2028 twice,\u00a0{WORDS[1]}\\'
    write_task(tmp_path / "task", [(text, "a"), (sentence(3), "b")])
    augment(options(), show_progress=False)
    task = open_task("custom", str(tmp_path / "task")).task
    rows = list(read_rows(task, tmp_path / "out.jsonl"))
    assert rows[0].text_a == text and {row.label for row in rows} == {0, 1} and len(rows) > 4
    assert all(row.text_a.startswith("  He") and '"\u2028 ' in row.text_a for row in rows if row.label == 0)


def test_scores_stay_numbers(tmp_path: Path, options: Options) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(f"text_a\tscore\n{sentence(1)}\t2.5\n{sentence(2)}\t4\n")
    augment(options(), show_progress=False)
    assert {row["label"] for row in written(tmp_path / "out.jsonl")} == {2.5, 4.0}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_neither_chunks_nor_workers_change_what_is_drawn(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Rows draw by their numbers. (Chunks could change rounding alone, and do not with this model.)"""
    write_task(tmp_path / "task", ROWS)
    augment(options(), show_progress=False)
    monkeypatch.setattr(chunks, "_ROWS", 7)
    augment(options(output=tmp_path / "other.jsonl", workers=workers), show_progress=False)
    assert (tmp_path / "other.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_only_some_rows(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", ROWS)
    report = augment(options(rows=10), show_progress=False)
    some = written(tmp_path / "out.jsonl")
    assert report.totals.selected == 10
    assert [(row["text_a"], row["label"]) for row in some if (row["text_a"], row["label"]) in ROWS] == ROWS
    augment(options(output=tmp_path / "all.jsonl"), show_progress=False)
    assert [row for row in written(tmp_path / "all.jsonl") if row in some] == some, "the same copies of those rows"
    chosen = select(1000, 100, seed=4)
    assert chosen.sum() == 100 and not (chosen == select(1000, 100, seed=5)).all()
    assert (select(1000, 50, seed=4) <= chosen).all() and select(7, 9, 0).all()
    assert np.flatnonzero(chosen).mean() == pytest.approx(500, abs=120)


def test_words_of_several_pieces_come_from_the_vectors(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", [("unseen bbird unknown", "a"), ("bring kring", "b")])
    (tmp_path / "glove.txt").write_text("unseen 1 0.1\nhidden 1 0.2\nsecret 1 0\n")
    augment(options(vectors=tmp_path / "glove.txt", copies=30), show_progress=False)
    rows = [row["text_a"].split() for row in written(tmp_path / "out.jsonl") if row["label"] == "a"]
    assert {row[0] for row in rows} == {"unseen", "hidden", "secret"}
    assert {row[2] for row in rows} == {"unknown"}, "not among the vectors: it stays"
    assert len({row[1] for row in rows}) > 2, "one piece: the masked-LM"


def test_chinese(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", [("电影很好看。", "好"), ("天气不错,bbird", "坏")])
    augment(options(candidates=60, copies=10), show_progress=False)
    rows = written(tmp_path / "out.jsonl")
    assert {row["label"] for row in rows} == {"好", "坏"}
    assert "电影很好看" in (tmp_path / "out.jsonl").read_text(encoding="utf-8"), "not escaped"
    assert all(row["text_a"].endswith("。") and "很" in row["text_a"] for row in rows if row["label"] == "好")


def test_a_finished_file_is_kept_and_another_one_refused(tmp_path: Path, options: Options) -> None:
    write_task(tmp_path / "task", ROWS)
    first = augment(options(), show_progress=False)
    before = (tmp_path / "out.jsonl").stat().st_mtime_ns
    again = augment(options(workers=2, resume=True), show_progress=False)
    assert again.was_whole and again.totals == first.totals
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"made otherwise:\n  --copies: 4 there, 5 now\n  --seed: 0 there, 1 now\n"):
        augment(options(copies=5, seed=1), show_progress=False)
    write_task(tmp_path / "task", ROWS[:-1])
    with pytest.raises(ValueError, match="--data-dir: train.jsonl [0-9a-f]+ there, train.jsonl [0-9a-f]+ now"):
        augment(options(), show_progress=False)
    write_task(tmp_path / "task", ROWS)
    with (tmp_path / "out.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="gone or changed"):
        augment(options(), show_progress=False)
    (tmp_path / "out.jsonl").unlink()  # as the message about other options says
    assert augment(options(copies=5), show_progress=False).totals.rows_out > first.totals.rows_out


def test_a_tokenizer_beside_the_model(tmp_path: Path, options: Options, model: Path) -> None:
    write_task(tmp_path / "task", ROWS)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((model / name).read_bytes())
    with pytest.raises(ValueError, match="holds no vocabulary"):
        augment(options(model=str(bare)), show_progress=False)
    found = augment(options(model=str(bare), tokenizer=str(model)), show_progress=False)
    assert found.totals.words > 0


def test_mistakes_are_told_before_the_work(tmp_path: Path, options: Options, model: Path) -> None:
    write_task(tmp_path / "task", ROWS)

    def refused(pattern: str, **more: Any) -> None:
        with pytest.raises(ValueError, match=pattern):
            augment(options(**more), show_progress=False)

    refused("(?s)copies.*probability.*candidates", copies=0, candidates=0, probability=0)
    refused("must end in .jsonl", output=tmp_path / "out.tsv")
    refused("task\n.*no such task. Did you mean sst-2?", task="sst-3")
    refused("^--data-dir .*none: no such folder", data_dir=str(tmp_path / "none"))
    refused("^--labels and --kind are for custom tasks only", task="cola", kind="regression")
    refused("--candidates 5000: must be less than", candidates=5000)
    refused("--vectors .*: cannot be read", vectors=tmp_path / "none.txt")
    (tmp_path / "mine.jsonl").write_text("mine")
    refused("mine.jsonl is there already and was not made here", output=tmp_path / "mine.jsonl")
    unmasked = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    write_masked_lm(tmp_path / "unmasked", unmasked)
    (tmp_path / "unmasked" / "tokenizer.json").write_text(_without_mask(model))
    refused(r"--model .*unmasked: .*no \[MASK\]", model=str(tmp_path / "unmasked"))
    assert not (tmp_path / "out.jsonl.parts").exists()


def _without_mask(model: Path) -> str:
    from megatinybert.corpus.tokenizer import load_tokenizer

    parts = json.loads(load_tokenizer(model).to_str())
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] != "[MASK]"]
    del parts["model"]["vocab"]["[MASK]"]
    return json.dumps(parts)


def test_bad_rows_are_refused_or_counted(tmp_path: Path, options: Options) -> None:
    folder = write_task(tmp_path / "task", ROWS)
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text_a": "no label"}\n')
    with pytest.raises(ValueError, match="train.jsonl:41.*\n.*counted: --skip-bad-rows true$"):
        augment(options(), show_progress=False)
    report = augment(options(skip_bad_rows=True), show_progress=False)
    assert (report.totals.rows, report.totals.skipped) == (40, 1) and "train.jsonl:41" in report.messages[0]


def test_rows_in_another_layout_and_words_that_the_model_does_not_know(
    tmp_path: Path, options: Options, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text("1\tbbird ζ\n0\tbstone η\n-\tbstone\n", encoding="cp1253")
    layout: dict[str, Any] = {"encoding": "cp1253", "columns": ["mark", "body"], "text_a_column": "body"}
    given = options(**layout, label_column="mark", drop_labels=["-"], copies=1)
    report = augment(given)
    assert (report.totals.rows, report.totals.skipped) == (2, 0)
    assert {row["text_a"] for row in written(tmp_path / "out.jsonl")} >= {"bbird ζ", "bstone η"}
    assert "warning: --tokenizer: 50.0 % of the tokens are [UNK]" in capfd.readouterr().err
    with pytest.raises(ValueError, match="made otherwise:\n.*--drop-labels: - there, "):
        augment(given.model_copy(update={"drop_labels": None, "skip_bad_rows": False}))


def test_an_unfinished_file_goes_on_with_resume_alone(
    tmp_path: Path, options: Options, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(tmp_path / "task", ROWS)
    augment(options(output=tmp_path / "whole.jsonl"), show_progress=False)
    done: list[int] = []
    rewrite = chunks.ChunkRewriter.__call__

    def failing(self: chunks.ChunkRewriter, chunk: chunks.Chunk) -> chunks.WrittenChunk:
        if len(done) == 3:
            raise OSError("the disk is full")
        done.append(chunk.index)
        return rewrite(self, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(chunks.ChunkRewriter, "__call__", failing)
        with pytest.raises(OSError, match="the disk is full"):
            augment(options(), show_progress=False)
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(ValueError, match="add --resume"):
        augment(options(), show_progress=False)
    with pytest.raises(ValueError, match="begun otherwise:\n  --seed: 0 there, 1 now"):
        augment(options(seed=1, resume=True), show_progress=False)
    augment(options(resume=True, batch_tokens=64), show_progress=False)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


# The command has no option for small chunks.
SMALL_CHUNKS = """
import sys
from megatinybert.tasks.augment import chunks
chunks._ROWS = 4
sys.argv[0] = "augment.py"
from data_prep.augment import main
if __name__ == "__main__":
    sys.exit(main())
"""


def command(folder: Path, model: Path, output: str, *more: str) -> list[str]:
    script = folder / "small_chunks.py"
    script.write_text(SMALL_CHUNKS)
    words = {"--task": "custom", "--data-dir": folder / "task", "--model": model, "--output": folder / output}
    given = [part for name, value in words.items() for part in (name, str(value))]
    return [sys.executable, str(script), *given, "--copies", "6", "--device", "cpu", *more]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )


def begin(words: list[str], parts: Path, chunks: int) -> subprocess.Popen[str]:
    """The process once it has written so many chunks."""
    process = subprocess.Popen(
        words,
        cwd=REPOSITORY,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which pytest-xdist's workers ignore
    )
    wait_until(lambda: len(list(parts.glob("[0-9]*.jsonl"))) >= chunks, [process])
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_process_says_how_to_go_on(
    tmp_path: Path, model: Path, number: signal.Signals, code: int
) -> None:
    write_task(tmp_path / "task", [(sentence(row, 14), "ab"[row % 2]) for row in range(2000)])
    process = begin(command(tmp_path, model, "out.jsonl", "--workers", "1"), tmp_path / "out.jsonl.parts", 2)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    hint = "\ninterrupted: run the same command with --resume to go on\n"
    assert process.returncode == code and errors.endswith(hint) and "Traceback" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path, model: Path, workers: str) -> None:
    write_task(tmp_path / "task", [(sentence(number, 14), "ab"[number % 2]) for number in range(500)])
    whole = run(command(tmp_path, model, "whole.jsonl", "--workers", "2"))
    assert whole.returncode == 0 and "whole.jsonl is ready\n500 rows read" in whole.stdout, whole.stderr
    words = command(tmp_path, model, "out.jsonl", "--workers", workers)
    parts = tmp_path / "out.jsonl.parts"
    process = begin(words, parts, 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert parts.is_dir() and not (tmp_path / "out.jsonl").exists()
    resumed = run([*words, "--resume"])
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not parts.exists()


def test_the_command_says_what_is_wrong_in_a_line(tmp_path: Path, model: Path) -> None:
    write_task(tmp_path / "task", ROWS)
    done = run(command(tmp_path, model, "out.tsv"))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: 1 problem in the configuration:\n  --output ")
