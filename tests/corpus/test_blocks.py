"""Input files to blocks to documents."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
from pathlib import Path

import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.corpus.blocks import Block, ReadSettings, read_blocks
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.sources import DataError, find_sources

NAMES = OptionNames()


def blocks_of(path: Path, document: str = "auto", block_bytes: int = 64) -> list[Block]:
    sources, _ = find_sources([path], path.parent / "output", "--input")
    return list(read_blocks(sources, ReadSettings(document, "text", "utf-8", False, block_bytes, NAMES)))


def read(path: Path, document: str = "auto", block_bytes: int = 64) -> tuple[list[list[str]], int]:
    """All documents of a file as lists of lines, however it is cut, and the number of blocks."""
    found: list[list[str]] = []
    blocks = blocks_of(path, document, block_bytes)
    for block in blocks:
        documents = split_documents(block, "text", False, NAMES).documents()
        if block.begins:
            found += documents
            assert block.ends or len(documents) == 1
        elif documents:
            assert len(documents) == 1
            found[-1] += documents[0]
    assert blocks[-1].sha256 == hashlib.sha256(content(path)).hexdigest()
    assert blocks[-1].text_bytes == len(content(path))
    return [lines for lines in found if lines], len(blocks)


def content(path: Path) -> bytes:
    """The text of a file in UTF-8 with LF line ends."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.removeprefix("\ufeff".encode()).replace(b"\r\n", b"\n").replace(b"\r", b"\n")


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
        ("a\rb\r\rc\r", [["a", "b"], ["c"]]),  # as files of old have it
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
        text = "".join(draw.choices(["a", "bc", "\n", "\n", "\n\n", " ", "\r\n", "\r", "我"], k=draw.randint(0, 60)))
        path = write(tmp_path / f"{number}.txt", text)
        whole = read(path, "blank-line", block_bytes=10_000)[0]
        assert read(path, "blank-line", block_bytes=draw.randint(1, 20))[0] == whole
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        assert [line for lines in whole for line in lines] == lines


def test_a_long_document_has_blocks_of_its_own(tmp_path: Path) -> None:
    long = "".join(f"line {i}\n" for i in range(100))
    path = write(tmp_path / "a.txt", f"before\n\n{long}\nafter\n\nlast\n")
    blocks = blocks_of(path)
    parts = [block for block in blocks if not (block.begins and block.ends)]
    assert len(parts) > 5 and max(len(block.data) for block in blocks) < 200
    assert [part.begins for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]
    assert b"".join(part.data for part in parts).strip() == long.strip().encode()
    assert [block.first_line for block in blocks] == [
        1 + b"".join(other.data for other in blocks[:i]).count(b"\n") for i in range(len(blocks))
    ]


def test_the_first_block_of_a_long_document_holds_its_head(tmp_path: Path) -> None:
    """By which its split is chosen: the same whether the document is cut or not."""
    title, line = "short\n", "word " * 60 + "\n"
    first = blocks_of(write(tmp_path / "a.txt", title + line * 100), "blank-line", block_bytes=96)[0]
    assert first.begins and not first.ends
    # The title is below 96 / 16 bytes.
    assert split_documents(first, "text", False, NAMES).documents() == [["short", line.strip()]]


def test_a_line_longer_than_blocks_is_read_whole(tmp_path: Path) -> None:
    line = "word " * 5000
    assert read(write(tmp_path / "a.txt", f"{line}\nb\n"), block_bytes=10)[0] == [[line.strip()], ["b"]]


def test_json_lines(tmp_path: Path) -> None:
    records = [{"text": "a\n\nb\r\nc\rd", "id": 1}, {"text": ""}, {"text": "天 \ud83d\ude00"}]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(record) for record in records) + "\n\n")
    (block,) = blocks_of(path, block_bytes=1 << 20)
    split = split_documents(block, "text", False, NAMES)
    assert (split.documents(), split.replaced) == ([["a", "b", "c", "d"], [], ["天 😀"]], 0)


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
    (block,) = blocks_of(write(tmp_path / "a.txt", b"a \xef\xbf\xbd \xff b \xe9\n"))
    split = split_documents(block, "text", True, NAMES)
    assert (split.documents(), split.replaced) == ([["a \ufffd \ufffd b \ufffd"]], 2)
    (block,) = blocks_of(write(tmp_path / "a.jsonl", '{"text": "x \\ud800 \\ud83d\\ude00"}\n'))
    split = split_documents(block, "text", True, NAMES)
    assert (split.documents(), split.replaced) == ([["x \ufffd 😀"]], 1)


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "a\n" * 10_000)
    sources, _ = find_sources([path], tmp_path / "output", "--input")
    blocks = read_blocks(sources, ReadSettings("line", "text", "utf-8", False, block_bytes=100, names=NAMES))
    next(blocks)
    with path.open("a") as file:
        file.write("more\n")
    with pytest.raises(DataError, match=r"a\.txt: changed while"):
        list(blocks)


def test_reading_takes_time_in_proportion_to_a_line() -> None:
    from megatinybert.corpus.blocks import _cut

    class Counting(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            self.reads += 1
            return super().read(size)

    stream = Counting(b"x" * (1 << 20))
    assert [len(data) for data, _, _ in _cut(stream, "line", 64, 4)] == [1 << 20]
    assert stream.reads < 30  # each read is as long as all before it
