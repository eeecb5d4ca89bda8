"""The pipeline and its command: the same bytes whatever happens, a clear word where something is wrong."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.manifest import Manifest, read_manifest
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.corpus.verify import verify
from tests.helpers.texts import (
    CHINESE,
    SCRIPT,
    WORDS,
    as_text,
    command,
    contents,
    documents,
    start,
    stored,
    wait_for_progress,
)

Build = Callable[..., BuildReport]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """A folder of every kind of input, with a document much longer than a block and an empty file."""
    folder = tmp_path / "in"
    folder.mkdir()
    long = [[line for lines in documents(60, seed=5) for line in lines]]
    (folder / "a.txt").write_text(as_text(documents(200, 1) + long + documents(50, 2)))
    (folder / "b.txt.gz").write_bytes(gzip.compress(as_text(documents(100, 3)).encode(), mtime=0))
    lines = [json.dumps({"text": "\n".join(lines)}) for lines in documents(100, 4)]
    (folder / "c.jsonl").write_text("\n".join(lines))
    (folder / "d.txt").write_text("")
    (folder / "e.txt").write_text("\n".join(line for lines in documents(100, 6) for line in lines))
    return folder


SMALL: dict[str, object] = {
    "block_bytes": 3000,
    "validation_fraction": 0.1,
    "shard_tokens": 4000,
    "commit_seconds": 0.0,
}


def test_workers_change_no_byte(several: Path, build: Build, tmp_path: Path, tokenizer: Path) -> None:
    build(several, output="one", **SMALL)
    four = start(
        {
            **SMALL,
            "input": [str(several)],
            "tokenizer": str(tokenizer),
            "output": str(tmp_path / "four"),
            "workers": 4,
        }
    )
    assert four.communicate()[1] == "" and four.returncode == 0
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "four")
    assert len(one) > 15 and {Path(name).suffix for name in one} == {".bin", ".idx", ".json"}
    expected = documents(200, 1)
    expected.append([line for lines in documents(60, seed=5) for line in lines])
    expected += documents(50, 2) + documents(100, 3) + documents(100, 4)
    expected += [[line] for lines in documents(100, 6) for line in lines]
    found = stored(tmp_path / "one", tokenizer), stored(tmp_path / "one", tokenizer, "validation")
    held_out = [document for document in expected if document in found[1]]
    assert found[1] == held_out and 30 < len(held_out) < 130  # in order, a tenth of some 800
    assert found[0] == [document for document in expected if document not in found[1]]


def test_a_killed_build_goes_on_to_the_same_bytes(several: Path, build: Build, tmp_path: Path, tokenizer: Path) -> None:
    build(several, output="whole", tokenizer_engine="tokenizers", **SMALL)
    folder = tmp_path / "killed"
    options = {
        **SMALL,
        "input": [str(several)],
        "tokenizer": str(tokenizer),
        "output": str(folder),
        "workers": 2,
        "tokenizer_engine": "tokenizers",  # whose workers are processes
    }
    blocks = 0
    for _ in range(2):
        process = start({**options, "resume": blocks > 0})
        blocks = wait_for_progress(process, folder, blocks + 12)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        assert not (folder / "manifest.json").exists() and list(folder.glob("*.partial"))  # mid-build
        with pytest.raises(ValueError, match="unfinished"):
            open_corpus(folder)
        assert workers and not psutil.wait_procs(workers, timeout=10)[1]  # they end with their parent
    report = build(several, output="killed", tokenizer_engine="tokenizers", resume=True, **SMALL)
    assert report.text_bytes < sum(source.text_bytes for source in report.manifest.sources)  # some was done before
    assert contents(folder) == contents(tmp_path / "whole")
    assert build(several, output="killed", tokenizer_engine="tokenizers", resume=True, **SMALL).was_whole


def test_every_commit_can_be_resumed(
    several: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each write to progress.json or rename in turn, also half-way through giving names."""
    from megatinybert.corpus import progress, writer

    build(several, output="whole", **SMALL)
    real_write, real_replace = progress.write_atomically, os.replace
    calls, stop_at = 0, 0

    class Stop(Exception):
        pass

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise Stop

    def write(path: Path, text: str) -> None:
        count()
        real_write(path, text)

    def replace(old: Path, new: Path) -> None:
        if str(old).endswith(".partial"):
            count()
        real_replace(old, new)

    monkeypatch.setattr(progress, "write_atomically", write)
    monkeypatch.setattr(writer.os, "replace", replace)
    stops = 0
    while stops < 1000:
        calls, stop_at = 0, 2 + 7 * stops
        try:
            build(several, output="stopped", resume=True, **SMALL)
            break
        except Stop:
            stops += 1
    assert stops > 3 and contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_formats_and_compression_change_no_shard(build: Build, tmp_path: Path) -> None:
    texts = [*documents(100), [CHINESE, f"{CHINESE}猫"]]
    (tmp_path / "a.txt").write_text(as_text(texts), encoding="utf-8")
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbf" + as_text(texts).replace("\n", "\r\n").encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(as_text(texts).encode()))
    records = "".join(json.dumps({"id": 1, "body": "\n".join(lines)}) + "\n" for lines in texts)
    (tmp_path / "a.jsonl").write_text(records)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(records.encode()))
    entries = {}
    for name in ("a.txt", "dos.txt", "a.txt.gz", "a.jsonl", "a.jsonl.gz"):
        report = build(
            tmp_path / name, output=f"out-{name}", text_key="body", validation_fraction=0.2, block_bytes=3000
        )
        entries[name] = report.manifest.shards
    assert all(shards == entries["a.txt"] for shards in entries.values()) and len(entries["a.txt"]) == 2
    sources = [read_manifest(tmp_path / f"out-{name}").sources[0] for name in ("a.txt", "a.txt.gz")]
    assert sources[0].sha256 == sources[1].sha256 and sources[0].text_bytes == sources[1].text_bytes


def test_copies_of_a_document_share_a_split(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    texts = [[" ".join(WORDS[i : i + 5])] for i in range(100)]
    (tmp_path / "a.txt").write_text(as_text(texts * 3))
    build(tmp_path / "a.txt", validation_fraction=0.3)
    held_out = stored(tmp_path / "shards", tokenizer, "validation")
    assert len(held_out) % 3 == 0 and 30 < len(held_out) < 150
    assert not [document for document in stored(tmp_path / "shards", tokenizer) if document in held_out]


def test_a_very_long_line_is_one_sequence(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    words = WORDS * 2000  # dozens of pieces for the tokenizer
    (tmp_path / "a.txt").write_text("short bird\n" + " ".join(words) + "\nshort stone\n")
    build(tmp_path / "a.txt")
    lengths = open_corpus(tmp_path / "shards").shards[0].sequence_lengths
    assert len(lengths) == 3
    text = " ".join(words)
    expected = len(load_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids)
    assert lengths[1] == expected + 1


def test_text_without_tokens_is_counted_not_kept(build: Build, tmp_path: Path) -> None:
    control = "\x01\x02"  # a BERT normaliser drops control characters
    (tmp_path / "a.txt").write_text(f"bird\n{control}\n\n{control}\n\nstone\n")
    (tmp_path / "b.jsonl").write_text('{"text": " \\n"}\n')
    long = "\n".join([control] * 4000)
    (tmp_path / "c.txt").write_text(f"{long}\n\nbird\n")
    report = build(*(tmp_path / name for name in ("a.txt", "b.jsonl", "c.txt")), block_bytes=1000)
    assert report.manifest.empty_documents == 3
    assert report.manifest.totals["train"] == {"shards": 1, "documents": 3, "sequences": 3, "tokens": 16}


def test_a_large_vocabulary_takes_32_bits(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    parts = json.loads((tokenizer / "tokenizer.json").read_text())
    vocabulary = parts["model"]["vocab"]
    for size, dtype in ((65_499, "uint16"), (65_500, "int32")):
        vocabulary.update({f"more{i}": i for i in range(len(vocabulary), size)})
        folder = tmp_path / dtype
        folder.mkdir()
        (folder / "tokenizer.json").write_text(json.dumps(parts))
        (tmp_path / "a.txt").write_text(f"more{size - 1}\n")
        done = command(
            "--input",
            tmp_path / "a.txt",
            "--tokenizer",
            folder,
            "--output",
            tmp_path / f"out-{dtype}",
            "--validation-fraction",
            0,
        )
        assert done.returncode == 0, done.stderr
        (shard,) = open_corpus(tmp_path / f"out-{dtype}").shards
        assert shard.dtype.name == dtype and shard.tokens.tolist() == [size - 1, 3]


def peak_memory(options: dict[str, object]) -> int:
    """The most bytes that a build and its workers held together."""
    process = start(options)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    errors = process.communicate()[1]
    watcher.join()
    assert process.returncode == 0, errors
    return peak


def test_memory_is_flat_as_input_grows(tmp_path: Path, tokenizer: Path) -> None:
    part = as_text(documents(2000, words=12))
    peaks = []
    # Even the small one takes long enough for both workers to be seen at their peak.
    for name, megabytes in (("small", 32), ("large", 128)):
        (tmp_path / f"{name}.txt").write_text(part * int(megabytes * 1e6 / len(part)))
        peaks.append(
            peak_memory(
                {
                    "input": [str(tmp_path / f"{name}.txt")],
                    "tokenizer": str(tokenizer),
                    "output": str(tmp_path / name),
                    "workers": 2,
                    "block_bytes": 1 << 16,
                }
            )
        )
    assert peaks[1] - peaks[0] < 12e6, f"{peaks[0] / 1e6:.0f} MB, then {peaks[1] / 1e6:.0f} MB"


@pytest.mark.slow
def test_memory_is_flat_at_a_gigabyte(tmp_path: Path, tokenizer: Path) -> None:
    """With the fast engine where it is installed: its caches are bounded."""
    part = as_text(documents(20_000, words=40))
    peaks = []
    for name, size in (("small", 1e8), ("large", 1e9)):
        text = tmp_path / f"{name}.txt"
        with text.open("w") as file:
            for _ in range(int(size / len(part)) + 1):
                file.write(part)
        options: dict[str, object] = {"input": [str(text)], "tokenizer": str(tokenizer), "workers": 2}
        peaks.append(peak_memory({**options, "output": str(tmp_path / name)}))
        text.unlink()
    assert peaks[1] - peaks[0] < 2e7, f"{peaks[0] / 1e6:.0f} MB, then {peaks[1] / 1e6:.0f} MB"


@pytest.mark.slow
def test_a_line_of_60_megabytes(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("babird bastone " * 4_000_000 + "\n")
    report = build(tmp_path / "a.txt")
    assert report.manifest.totals["train"] == {"shards": 1, "documents": 1, "sequences": 1, "tokens": 8_000_001}


def test_resume_refuses_what_differs(several: Path, build: Build, tmp_path: Path, tokenizer: Path) -> None:
    bad = several / "z.txt"
    bad.write_bytes(b"bird\n\xff\n")
    with pytest.raises(DataError, match=r"z\.txt, line 2"):
        build(several, **SMALL)
    with pytest.raises(ValueError, match=r"not empty.*--resume"):
        build(several, **SMALL)
    (several / "b.txt.gz").rename(several / "bb.txt.gz")
    with pytest.raises(ValueError) as raised:
        build(several, resume=True, **{**SMALL, "shard_tokens": 99, "text_key": "body"})
    lines = str(raised.value).splitlines()
    assert lines[1:3] == ["  --shard-tokens: 4000 there, 99 now", "  --text-key: text there, body now"]
    assert lines[3].startswith("  input in/b.txt.gz: ") and lines[3].endswith("bytes there, none now")
    assert lines[4].startswith("  input in/bb.txt.gz: none there, ")
    (several / "bb.txt.gz").rename(several / "b.txt.gz")
    text = (several / "a.txt").read_bytes()
    (several / "a.txt").write_bytes(text.replace(b"b", b"d", 1))  # the same size
    with pytest.raises(ValueError, match=r"the text of in/a\.txt has changed since"):
        build(several, resume=True, **SMALL)
    (several / "a.txt").write_bytes(text)
    # Nothing invalid was met before, so replacing from here on is the same as from the start.
    report = build(several, resume=True, invalid_utf8="replace", **SMALL)
    assert report.manifest.replaced_characters == 1
    build(several, output="fresh", invalid_utf8="replace", **SMALL)
    assert contents(tmp_path / "shards") == contents(tmp_path / "fresh")
    with pytest.raises(ValueError, match="holds a whole corpus"):
        build(several, **SMALL)


def test_only_an_empty_folder_is_built_in(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("bird\n")
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "mine").write_text("precious")
    for resume in (False, True):
        with pytest.raises(ValueError, match="--resume"):
            build(tmp_path / "a.txt", resume=resume)
    assert contents(tmp_path / "shards") == {"mine": b"precious"}


def test_a_build_that_failed_at_once_leaves_nothing_in_the_way(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\n")
    with pytest.raises(DataError):
        build(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("a bird\n")
    assert build(tmp_path / "a.txt").manifest.totals["train"]["documents"] == 1


def test_two_builds_do_not_share_a_folder(build: Build, tmp_path: Path, tokenizer: Path) -> None:
    import fcntl

    (tmp_path / "a.txt").write_text("bird\n")
    (tmp_path / "shards").mkdir()
    with (tmp_path / "shards" / "build.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another build"):
            build(tmp_path / "a.txt", resume=True)


def test_corpora_too_small_for_their_fraction(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n \n")
    with pytest.raises(DataError, match="no text in the input"):
        build(tmp_path / "a.txt", output="none")
    (tmp_path / "a.txt").write_text("a bird\n")
    with pytest.raises(DataError, match=r"all text, 1 document, fell.*--validation-fraction"):
        build(tmp_path / "a.txt", output="all", validation_fraction=0.999999)


def test_the_command(several: Path, tmp_path: Path, tokenizer: Path) -> None:
    (several / "notes.md").write_text("left out")
    arguments = (
        "--input",
        several,
        "--tokenizer",
        tokenizer,
        "--output",
        tmp_path / "out",
        "--validation-fraction",
        0.0001,
    )
    done = command(*arguments, "--workers", 2)
    assert done.returncode == 0, done.stderr
    manifest: Manifest = read_manifest(tmp_path / "out")
    assert f"{manifest.totals['train']['tokens']:,}" in done.stdout and "tokens/s" in done.stdout
    assert "none of" in done.stdout and "raise --validation-fraction" in done.stdout
    assert "in/notes.md" in done.stdout and "empty files: 1 (in/d.txt)" in done.stdout
    assert len(re.findall(r"\S+ MB/s, \S+ tokens/s", done.stdout + done.stderr)) == 1  # told once
    again = command(*arguments, "--resume")
    assert again.returncode == 0 and "whole already" in again.stdout


def test_every_mistake_in_a_command_is_named_at_once(tmp_path: Path) -> None:
    done = command(
        "--input", tmp_path / "gone.txt", "--tokenizer", tmp_path, "--output", tmp_path / "out",
        "--validation-fraction", 1, "--shard-tokens", 0, "--workers", -1,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    for part in ("3 problems", "--validation-fraction 1", "--shard-tokens 0", "--workers -1"):
        assert part in done.stderr
    done = command("--input", tmp_path / "gone.txt", "--tokenizer", tmp_path, "--output", tmp_path / "out")
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    for part in (f"--input {tmp_path / 'gone.txt'}: no such file", f"--tokenizer {tmp_path}: "):
        assert part in done.stderr
    assert not (tmp_path / "out").exists()


def test_bad_data_and_bad_places_end_with_one(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "bird"}\n{"text": 1}\n')
    arguments = ("--input", tmp_path / "a.jsonl", "--tokenizer", tokenizer, "--output")
    for workers in (1, 2):  # from a worker process too
        done = command(*arguments, tmp_path / "out", "--workers", workers)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        message = f"error: {tmp_path / 'a.jsonl'}, line 2: the value of 'text' is 1, not a string\n"
        assert done.stderr.endswith(message)
    done = command(*arguments, tmp_path / "a.jsonl" / "out")
    assert done.returncode == 1 and done.stderr.startswith(f"error: {tmp_path / 'a.jsonl'}")


def test_a_full_disk_leaves_a_build_to_go_on_with(several: Path, build: Build, tmp_path: Path, tokenizer: Path) -> None:
    arguments = ("--input", several, "--tokenizer", tokenizer, "--output", tmp_path / "out", "--workers", 1)
    done = command(*arguments, limit_bytes=40_000)
    assert done.returncode == 1 and "--resume" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert command(*arguments, "--resume").returncode == 0
    build(several, output="whole", validation_fraction=0.01)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all(not problems for _, problems in verify(tmp_path / "out"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(("engine", "copies"), [("tokenizers", 1), ("auto", 12)])  # processes; mostly threads
def test_an_interrupted_build_says_how_to_go_on(
    tmp_path: Path, tokenizer: Path, engine: str, copies: int, number: signal.Signals, code: int
) -> None:
    (tmp_path / "a.txt").write_text(as_text(documents(20_000)) * copies)
    arguments = [
        "--input",
        tmp_path / "a.txt",
        "--tokenizer",
        tokenizer,
        "--output",
        tmp_path / "out",
        "--workers",
        2,
        "--tokenizer-engine",
        engine,
    ]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which pytest-xdist's workers ignore
    )
    wait_for_progress(process, tmp_path / "out", 0)
    time.sleep(0.3)
    os.killpg(process.pid, number)  # as a terminal does: to the workers too
    errors = process.communicate(timeout=20)[1]
    assert process.returncode == code and "--resume to go on" in errors and "Traceback" not in errors
