"""Input files to blocks to documents."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
from pathlib import Path

import pytest

from megatinybert.data.text import (
    Block,
    DataError,
    decode,
    find_sources,
    read_blocks,
    split_documents,
)


def read(path: Path, document: str = "auto", block_bytes: int = 64) -> tuple[list[list[str]], int]:
    """All documents of a file as lists of lines, however it is cut, and the number of blocks."""
    sources, _ = find_sources([path], path.parent / "output")
    found: list[list[str]] = []
    blocks = list(read_blocks(sources, document, block_bytes))
    for block in blocks:
        text, _ = decode(block, False)
        documents, _ = split_documents(block, text, "text", False)
        if block.begins:
            found += documents
            if not block.ends and not documents:
                found.append([])
        elif documents:
            assert len(documents) == 1
            found[-1] += documents[0]
    assert blocks[-1].sha256 == hashlib.sha256(content(path)).hexdigest()
    assert blocks[-1].text_bytes == len(content(path))
    return [lines for lines in found if lines], len(blocks)


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n\nc\n", [["a", "b"], ["c"]]),
        ("a\nb\n\nc", [["a", "b"], ["c"]]),  # no line end at the end
        ("\n\n a \n \t \n\n\nb\n\n\n", [["a"], ["b"]]),  # white space is blank; runs of blank lines are one
        ("a\r\nb\r\n\r\nc\r\n", [["a", "b"], ["c"]]),
        ("\ufeffa\n\nb\n", [["a"], ["b"]]),  # byte-order mark
        ("a\nb\nc\n", [["a"], ["b"], ["c"]]),  # no blank line between text: each line
        ("\n\na\nb\n\n", [["a"], ["b"]]),  # blank lines around the text are not between it
        ("", []),
        (" \n\n\t\n", []),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 1000])
def test_documents_of_a_text(tmp_path: Path, text: str, expected: list, block_bytes: int) -> None:
    assert read(write(tmp_path / "a.txt", text), block_bytes=block_bytes)[0] == expected


def test_document_rules_can_be_forced(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\nb\n\nc\n")
    assert read(path, "line")[0] == [["a"], ["b"], ["c"]]
    assert read(write(tmp_path / "b.txt", "a\nb\n"), "blank-line")[0] == [["a", "b"]]


def test_random_texts_cut_anywhere(tmp_path: Path) -> None:
    draw = random.Random(1)
    for number in range(200):
        text = "".join(draw.choices(["a", "bc", "\n", "\n", "\n\n", " ", "\r\n", "我"], k=draw.randint(0, 60)))
        path = write(tmp_path / f"{number}.txt", text)
        whole = read(path, "blank-line", block_bytes=10_000)[0]
        assert read(path, "blank-line", block_bytes=draw.randint(1, 20))[0] == whole
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        assert [line for lines in whole for line in lines] == lines


def test_a_long_document_has_blocks_of_its_own(tmp_path: Path) -> None:
    long = "".join(f"line {i}\n" for i in range(100))
    path = write(tmp_path / "a.txt", f"before\n\n{long}\nafter\n\nlast\n")
    sources, _ = find_sources([path], tmp_path / "output")
    blocks = list(read_blocks(sources, "auto", 64))
    parts = [block for block in blocks if not (block.begins and block.ends)]
    assert len(parts) > 5 and max(len(block.data) for block in blocks) < 200
    assert [part.begins for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]
    assert b"".join(part.data for part in parts).strip() == long.strip().encode()
    assert [block.first_line for block in blocks] == [
        1 + b"".join(other.data for other in blocks[:i]).count(b"\n") for i in range(len(blocks))
    ]


def test_a_line_longer_than_blocks_is_read_whole(tmp_path: Path) -> None:
    line = "word " * 5000
    assert read(write(tmp_path / "a.txt", f"{line}\nb\n"), block_bytes=10)[0] == [[line.strip()], ["b"]]


def test_json_lines(tmp_path: Path) -> None:
    records = [{"text": "a\n\nb\r\n", "id": 1}, {"text": ""}, {"text": "天 \ud83d\ude00"}]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(record) for record in records) + "\n\n")
    sources, _ = find_sources([path], tmp_path / "output")
    (block,) = read_blocks(sources, "auto", 1 << 20)
    assert split_documents(block, decode(block, False)[0], "text", False) == (
        [["a", "b"], [], ["天 😀"]],
        0,
    )


def test_gzip_gives_the_same_documents(tmp_path: Path) -> None:
    text = "a b\nc\n\nd\n" * 50
    plain = write(tmp_path / "a.txt", text)
    parts = gzip.compress(text[:100].encode()) + gzip.compress(text[100:].encode())  # of two members
    assert read(write(tmp_path / "b.txt.gz", parts)) == read(plain)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.txt",
            b"fine\n" * 30 + b"caf\xe9\n",
            r"a\.txt, line 31: not valid UTF-8 \(byte 0xe9\).*--invalid-utf8",
        ),
        ("a.txt.gz", gzip.compress(os.urandom(5000))[:3000], r"a\.txt\.gz: damaged gzip"),
        ("a.txt.gz", b"not gzip", r"a\.txt\.gz: damaged gzip"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": "b"\n', r"a\.jsonl, line 3: not valid JSON"),
        ("a.jsonl", b"[" * 100_000 + b"\n", r"a\.jsonl, line 1: not valid JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', r"a\.jsonl, line 2: \[1\] is not a JSON object"),
        ("a.jsonl", b'{"body": "a", "id": 1}\n', r"line 1: no key 'text' \(keys: 'body', 'id'\).*--text-key"),
        ("a.jsonl", b'{"text": null}\n', r"line 1: the value of 'text' is null, not a string"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"line 1: not valid UTF-8 \(a lone surrogate"),
    ],
)
def test_bad_content_names_file_and_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / name, data))


def test_replacing_counts_what_was_not_there_before(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"a \xef\xbf\xbd \xff b \xe9\n")
    (source,), _ = find_sources([path], tmp_path / "output")
    (block,) = read_blocks([source], "auto", 100)
    assert decode(block, True) == ("a \ufffd \ufffd b \ufffd\n", 2)
    surrogate = Block(0, 0, path, "object", 1, b"", True, True, 0, "", 0)
    line = '{"text": "x \\ud800 \\ud83d\\ude00"}'
    assert split_documents(surrogate, line, "text", True) == ([["x \ufffd 😀"]], 1)


def test_folders_are_read_by_name_and_nothing_is_silent(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.jsonl", "a/c.TXT.gz", "notes.md", "out/old.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "in" / name, b"")
    extra = write(tmp_path / "first.txt", b"")
    sources, left_out = find_sources([extra, tmp_path / "in"], tmp_path / "in" / "out")
    assert [source.name for source in sources] == ["first.txt", "in/a/c.TXT.gz", "in/a/z.jsonl", "in/b.txt"]
    assert left_out == ["in/notes.md"]


def test_every_bad_input_is_listed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "a.pdf", b"")
    good = write(tmp_path / "a.txt", b"")
    with pytest.raises(ValueError) as raised:
        find_sources([tmp_path / "gone.txt", tmp_path / "empty", tmp_path / "a.pdf", good, good], tmp_path)
    text = str(raised.value)
    for part in ("gone.txt: no such file", "empty: no .txt", "a.pdf: not a .txt", "a.txt: named twice"):
        assert part in text


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\n" * 10_000)
    sources, _ = find_sources([path], tmp_path / "output")
    blocks = read_blocks(sources, "line", 100)
    next(blocks)
    with path.open("a") as file:
        file.write("more\n")
    with pytest.raises(DataError, match=r"a\.txt: changed while"):
        list(blocks)


def test_reading_takes_time_in_proportion_to_a_line() -> None:
    from megatinybert.data.text import _cut

    class Counting(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    stream = Counting(b"x" * (1 << 20))
    assert [len(data) for data, _, _ in _cut(stream, "line", 64)] == [1 << 20]
    assert stream.reads < 30  # each read is as long as all before it
