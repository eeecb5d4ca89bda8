"""The same text gives the same shards, whatever the files are in, and whatever happens on the way."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from megatinybert.corpus.build import BuildReport
from megatinybert.corpus.manifest import read_manifest
from tests.helpers.texts import (
    CHINESE,
    as_text,
    command,
    contents,
    documents,
    start,
    stored,
    wait_for_progress,
)
from tests.helpers.toys import REPOSITORY

Build = Callable[..., BuildReport]
# Cuts within characters and CRLF, and makes parts of most documents.
SMALL: dict[str, object] = {"block_bytes": 301, "shard_tokens": 3000, "validation_fraction": 0.3}
EVERY_BLOCK = {**SMALL, "commit_seconds": 0.0}


def chinese_documents(count: int, seed: int = 0) -> list[list[str]]:
    """Documents of both languages, some below a block of SMALL and some of many; one of a title and a long line."""
    draw = random.Random(seed)
    lines = [line for lines in documents(6 * count, seed) for line in lines]
    texts = [
        [f"{''.join(draw.choices(CHINESE, k=draw.randint(1, 40)))} {draw.choice(lines)}" for _ in range(length)]
        for length in draw.choices((1, 2, 5, 40), weights=(3, 3, 3, 1), k=count)
    ]
    return [*texts, ["river", " ".join(lines[:50]), "stone"], *documents(3)]


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if Path(name).suffix in (".bin", ".idx")}


def packed(text: bytes) -> bytes:
    """Two zstd frames."""
    return zstandard.compress(text[:777]) + zstandard.compress(text[777:])


def records_of(texts: list[list[str]]) -> list[dict[str, object]]:
    return [{"id": number, "text": "\n".join(lines)} for number, lines in enumerate(texts)]


def write_every_format(folder: Path, texts: list[list[str]]) -> dict[str, str]:
    """Write `texts` in many ways: {file name: --encoding}."""
    folder.mkdir()
    text = as_text(texts)
    dos = text.replace("\n", "\r\n")
    records = "".join(json.dumps({"text": "\r\n".join(lines)}, ensure_ascii=False) + "\r\n" for lines in texts)
    files: dict[str, tuple[str, bytes]] = {
        "plain.txt": ("utf-8", text.encode()),
        "mark.txt": ("utf-8", dos.encode("utf-8-sig")),
        "old.txt": ("utf-8", text.replace("\n", "\r").encode()),
        "wide.txt": ("utf-8", dos.encode("utf-16")),
        "gb.txt": ("GB18030", dos.encode("gb18030")),
        "plain.txt.gz": ("utf-8", gzip.compress(text.encode())),
        "plain.txt.zst": ("utf-8", packed(text.encode())),
        "gb.txt.zst": ("gb18030", packed(dos.encode("gb18030"))),
        "plain.jsonl": ("utf-8", records.encode()),
        "gb.jsonl.zst": ("gb18030", packed(records.encode("gb18030"))),
        "plain.txt.bz2": ("utf-8", bz2.compress(text[:777].encode()) + bz2.compress(text[777:].encode())),
        "plain.txt.xz": ("utf-8", lzma.compress(text[:777].encode()) + bytes(8) + lzma.compress(text[777:].encode())),
        "lines.json.gz": ("utf-8", gzip.compress(records.encode())),
        "array.json": ("utf-8", json.dumps([{"text": "\n".join(lines), "n": [{}]} for lines in texts]).encode()),
        "array.json.xz": (
            "gb18030",
            lzma.compress(json.dumps(records_of(texts), indent=2, ensure_ascii=False).encode("gb18030")),
        ),
        "objects.json": ("utf-8", "\n".join(json.dumps(each, indent=1) for each in records_of(texts)).encode()),
    }
    for name, (_, data) in files.items():
        (folder / name).write_bytes(data)
    rows = ["\n\n".join(lines) + "\n" for lines in texts]
    table = pa.table({"text": rows})
    pq.write_table(table, folder / "rows.parquet", row_group_size=20)
    with pa.ipc.new_stream(folder / "stream.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=20)
    with pa.ipc.new_file(folder / "file.arrow", table.schema) as file:
        file.write_table(table)
    of_rows = dict.fromkeys(("rows.parquet", "stream.arrow", "file.arrow"), "utf-8")
    return {**{name: encoding for name, (encoding, _) in files.items()}, **of_rows}


@pytest.mark.parametrize("block_bytes", [301, 1 << 20])
def test_every_format_gives_the_same_shards(build: Build, tmp_path: Path, tokenizer: Path, block_bytes: int) -> None:
    texts = chinese_documents(80)
    encodings = write_every_format(tmp_path / "in", texts)
    options = {**SMALL, "block_bytes": block_bytes}
    build(tmp_path / "in" / "plain.txt", output="whole", **options)
    whole = shards(tmp_path / "whole")
    splits = [stored(tmp_path / "whole", tokenizer, split) for split in ("train", "validation")]
    assert len(whole) > 6 and sum(map(len, splits)) == len(texts) and len(splits[1]) > 10
    checksums = {}
    for name, encoding in encodings.items():
        (source,) = build(tmp_path / "in" / name, output=name, encoding=encoding, **options).manifest.sources
        assert shards(tmp_path / name) == whole, name
        assert source.encoding == ("utf-16-le" if name == "wide.txt" else encoding.lower())
        checksums[name] = (source.sha256, source.text_bytes)
    assert len({checksums[name] for name in encodings if ".txt" in name}) == 1  # of the text, not of the file


@pytest.mark.parametrize("name", ["rows.parquet", "gb.txt.zst", "array.json.xz", "stream.arrow"])
def test_a_killed_build_goes_on_to_the_same_shards(name: str, build: Build, tmp_path: Path, tokenizer: Path) -> None:
    encoding = write_every_format(tmp_path / "in", chinese_documents(600))[name]
    build(tmp_path / "in" / "plain.txt", output="whole", **SMALL)
    options = {**EVERY_BLOCK, "encoding": encoding, "workers": 2, "tokenizer": str(tokenizer)}
    process = start({**options, "input": [str(tmp_path / "in" / name)], "output": str(tmp_path / "killed")})
    wait_for_progress(process, tmp_path / "killed", 30)
    process.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "manifest.json").exists()
    report = build(tmp_path / "in" / name, output="killed", encoding=encoding, resume=True, **SMALL)
    assert 0 < report.text_bytes < report.manifest.sources[0].text_bytes  # some was done before
    assert shards(tmp_path / "killed") == shards(tmp_path / "whole")


class Stop(Exception):
    pass


def test_a_resumed_build_counts_what_was_replaced_once(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from megatinybert.corpus import progress

    text = as_text(chinese_documents(40)).encode("gb18030").replace(b"stone", b"\xff")
    (tmp_path / "a.txt").write_bytes(text)
    options = {**EVERY_BLOCK, "encoding": "gb18030", "invalid_utf8": "replace"}
    whole = build(tmp_path / "a.txt", output="whole", **options)
    assert whole.manifest.replaced_characters == text.count(b"\xff") > 50
    real, commits = progress.write_atomically, 0

    def write(path: Path, content: str) -> None:
        nonlocal commits
        commits += 1
        if commits == 20:
            raise Stop
        real(path, content)

    monkeypatch.setattr(progress, "write_atomically", write)
    with pytest.raises(Stop):
        build(tmp_path / "a.txt", output="stopped", **options)
    assert build(tmp_path / "a.txt", output="stopped", resume=True, **options).manifest == whole.manifest
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_resume_refuses_another_encoding_and_other_rows(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = ["bird", "stone river"] * 500

    def write(texts: list[str]) -> None:
        pq.write_table(pa.table({"text": texts}), path, compression=None, use_dictionary=False, write_statistics=False)

    write(rows)
    bad = tmp_path / "b.txt"
    bad.write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"b\.txt, line 1: not valid UTF-8"):
        build(path, bad, **EVERY_BLOCK)
    with pytest.raises(ValueError, match="--encoding: utf-8 there, gb18030 now"):
        build(path, bad, resume=True, encoding="gb18030", **EVERY_BLOCK)
    size = path.stat().st_size
    write([*rows[:-2], "birdstone", " river"])  # the same characters
    assert path.stat().st_size == size
    with pytest.raises(ValueError, match=r"the text of a\.parquet has changed since"):
        build(path, bad, resume=True, **EVERY_BLOCK)


def test_a_build_from_before_there_was_a_choice_is_known(build: Build, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("bird\n")
    build(tmp_path / "a.txt")
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    del manifest["options"]["encoding"], manifest["sources"][0]["encoding"]
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    assert build(tmp_path / "a.txt", resume=True).was_whole


def test_the_command_helps_with_an_encoding(tmp_path: Path, tokenizer: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(as_text(chinese_documents(30)).replace("\n", "\r\n").encode("gb18030"))
    arguments = ("--input", path, "--tokenizer", tokenizer, "--output", tmp_path / "out", "--workers", 1)
    unknown = command(*arguments, "--encoding", "gb1830")
    assert unknown.returncode == 2 and not (tmp_path / "out").exists()
    problem = "--encoding gb1830 (command line): Python has no such text codec: did you mean gb18030? (default: utf-8)"
    assert unknown.stderr == f"error: 1 problem in the configuration:\n  {problem}\n"
    guessed = command(*arguments)
    assert guessed.returncode == 1 and f"error: {path}, line 1: not valid UTF-8 (byte 0x" in guessed.stderr
    assert "--encoding gb18030" in guessed.stderr and "Traceback" not in guessed.stderr
    named = command(*arguments, "--encoding", "GB18030")
    assert named.returncode == 0, named.stderr
    assert read_manifest(tmp_path / "out").options["encoding"] == "gb18030"
    inspect = [sys.executable, str(REPOSITORY / "data_prep" / "inspect_shards.py"), str(tmp_path / "out")]
    shown = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout
    assert "1 file, " in shown and "of text, gb18030\n" in shown and "encoding gb18030" in shown
