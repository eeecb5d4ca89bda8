"""A text file in any encoding and compression is the same stream."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from megatinybert.config.flat import OptionNames
from megatinybert.corpus import streams
from megatinybert.corpus.sources import DataError
from megatinybert.corpus.streams import TextStream

FULL_WIDTH = "天地玄黄、宇宙洪荒。日月盈昃、辰宿列张。\n寒来暑往、秋收冬藏。闰余成岁、律吕调阳。\n"


def read(path: Path, encoding: str = "utf-8", replace: bool = False, size: int = 7) -> tuple[bytes, TextStream]:
    with path.open("rb") as file:
        stream = TextStream(path, file, encoding, replace, OptionNames())
        pieces = []
        while piece := stream.read(size):
            pieces.append(piece)
    assert all(len(piece) == size for piece in pieces[:-1])  # so that blocks are cut where the text alone says
    return b"".join(pieces), stream


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture(params=[5, 8, 1 << 20])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces so small that characters, marks and CRLF are cut."""
    size: int = request.param
    monkeypatch.setattr(streams, "_PIECE_BYTES", size)
    monkeypatch.setattr(streams, "_ZSTD_BYTES", size)
    return size


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7"],
)
def test_encodings_and_line_ends_are_one(tmp_path: Path, encoding: str, piece_bytes: int) -> None:
    draw = random.Random(encoding)
    for _ in range(40):
        text = "天" + "".join(draw.choices(["a", "我", "𠮷", "\n", "\r\n", "\r", " "], k=draw.randint(0, 40)))
        path = write(tmp_path / "a.txt", text.encode(encoding))
        expected = text.replace("\r\n", "\n").replace("\r", "\n").encode()
        assert read(path, encoding, size=draw.randint(1, 9))[0] == expected


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gbk", FULL_WIDTH),
        ("big5", "天地玄黃\n"),
        ("shift_jis", "今日は雨が降った\n"),
        ("iso2022_jp", "今日は\n雨が abc 降った\n"),
        ("euc_kr", "오늘은 비가 왔다\n"),
        ("koi8-r", "привет\n"),
        ("latin-1", "café\n"),
    ],
)
def test_other_codecs(tmp_path: Path, encoding: str, text: str, piece_bytes: int) -> None:
    path = write(tmp_path / "a.txt", text.replace("\n", "\r\n").encode(encoding))
    assert read(path, encoding)[0] == text.encode()


@pytest.mark.parametrize("given", ["utf-8", "gb18030"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_decides_and_is_dropped(tmp_path: Path, given: str, encoding: str) -> None:
    path = write(tmp_path / "a.txt", ("\ufeff" + FULL_WIDTH).encode(encoding))
    data, stream = read(path, given)
    assert data == FULL_WIDTH.encode() and stream.encoding == encoding


def test_the_mark_of_gb18030_is_dropped(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", "\ufeff天\n".encode("gb18030")), "gb18030")[0] == "天\n".encode()


def test_nothing_but_a_mark_is_no_text(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-16-le"):
        assert read(write(tmp_path / "a.txt", "\ufeff".encode(encoding)))[0] == b""
    for encoding in ("utf-8", "utf-16", "gb18030"):
        assert read(write(tmp_path / "a.txt", b""), encoding)[0] == b""


def frames(text: bytes) -> bytes:
    """Several frames, one of them empty and one to be skipped."""
    pack = zstandard.ZstdCompressor(write_checksum=True).compress
    skipped = bytes.fromhex("502a4d18") + (3).to_bytes(4, "little") + b"abc"
    return pack(text[:100]) + skipped + pack(b"") + pack(text[100:])


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".gz", gzip.compress),
        (".gz", lambda text: gzip.compress(text[:100]) + gzip.compress(text[100:])),
        (".zst", zstandard.compress),
        (".zst", frames),
        (".ZST", zstandard.compress),
        (".bz2", bz2.compress),
        (".bz2", lambda text: bz2.compress(text[:100]) + bz2.compress(b"") + bz2.compress(text[100:])),
        (".xz", lzma.compress),
        (".xz", lambda text: lzma.compress(text[:100]) + bytes(4) + lzma.compress(text[100:]) + bytes(8)),
    ],
)
def test_compressed_text(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], piece_bytes: int) -> None:
    text = (FULL_WIDTH * 20).encode()
    assert read(write(tmp_path / f"a.txt{suffix}", pack(text)))[0] == text
    data = pack((FULL_WIDTH * 20).replace("\n", "\r\n").encode("gb18030"))
    assert read(write(tmp_path / f"a.txt{suffix}", data), "gb18030")[0] == text


def test_a_zstd_frame_of_a_large_window(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)  # above the usual limit
    chunks = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # the size is not known ahead
    data = chunks.compress(FULL_WIDTH.encode()) + chunks.flush()
    assert read(write(tmp_path / "a.txt.zst", data))[0] == FULL_WIDTH.encode()


NOISE = os.urandom(5000).hex().encode()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt.gz", gzip.compress(NOISE)[:3000], "damaged gzip file"),
        ("a.txt.gz", b"not gzip", "damaged gzip file"),
        ("a.txt.zst", zstandard.compress(NOISE)[:3000], r"damaged zstd file \(it ends within a frame\)"),
        ("a.txt.zst", zstandard.compress(NOISE)[:-1], r"damaged zstd file \(it ends within a frame\)"),
        ("a.txt.zst", zstandard.compress(NOISE) + zstandard.compress(NOISE)[:2], "damaged zstd file"),
        ("a.txt.zst", zstandard.compress(NOISE) + b"more", "damaged zstd file"),
        ("a.txt.zst", frames(NOISE)[:-1] + b"?", "damaged zstd file"),  # the checksum
        ("a.txt.zst", b"not zstd", "damaged zstd file"),
        ("a.txt.bz2", bz2.compress(NOISE)[:3000], r"damaged bzip2 file \(it ends within a stream\)"),
        ("a.txt.bz2", bz2.compress(NOISE) + b"more", "damaged bzip2 file"),
        ("a.txt.bz2", b"not bzip2", "damaged bzip2 file"),
        ("a.txt.xz", lzma.compress(NOISE)[:-1], r"damaged xz file \(it ends within a stream\)"),
        ("a.txt.xz", lzma.compress(NOISE) + b"more", "damaged xz file"),
        ("a.txt.xz", lzma.compress(NOISE)[:2000] + b"?" + lzma.compress(NOISE)[2001:], "damaged xz file"),
    ],
)
def test_damage_is_noticed(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = write(tmp_path / name, data)
    with pytest.raises(DataError, match=rf"{path.name}: {message}"):
        read(path)


BAD_GB = (FULL_WIDTH * 3).replace("\n", "\r\n").encode("gb18030")


@pytest.mark.parametrize(
    ("data", "line", "byte"),
    [
        (BAD_GB + b"\xff\r\n", 7, "ff"),
        (b"\r\r\n\xff", 3, "ff"),
        (BAD_GB + "天".encode("gb18030")[:1] + b"\n", 7, "cc"),  # a lead byte and a line end
        (BAD_GB + "天".encode("gb18030")[:1], 7, "cc"),  # cut off at the end
        (b"\xff" + BAD_GB, 1, "ff"),
    ],
)
def test_invalid_bytes_are_named(tmp_path: Path, data: bytes, line: int, byte: str, piece_bytes: int) -> None:
    path = write(tmp_path / "a.txt", data)
    with pytest.raises(DataError, match=rf"a\.txt, line {line}: not valid gb18030 \(byte 0x{byte}\)\. "):
        read(path, "gb18030")


def test_invalid_bytes_are_replaced_and_counted(tmp_path: Path, piece_bytes: int) -> None:
    real = "\ufffd".encode("gb18030")
    data, stream = read(write(tmp_path / "a.txt", b"a\xff" + real + b"\r\nb\xff\n" + real), "gb18030", replace=True)
    assert data.decode() == "a\ufffd\ufffd\nb\ufffd\n\ufffd" and stream.replaced == 2


def test_a_wrong_guess_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", FULL_WIDTH.encode())
    for wrong in ("gb18030", "latin-1", "big5"):
        with pytest.raises(DataError, match=r"a\.txt: not .* but UTF-8"):
            read(path, wrong)
    write(path, FULL_WIDTH.encode("utf-16-le"))
    with pytest.raises(DataError, match=r"a\.txt: no byte-order mark.*--encoding utf-16-le"):
        read(path, "utf-16")
    write(path, b"ab\n" + FULL_WIDTH[:8].encode())  # too little to be sure before, but not valid
    with pytest.raises(DataError, match=r"line 2: not valid big5.*valid utf-8.*--encoding utf-8"):
        read(path, "big5")
