"""What is said of a text in another encoding: commands that work as they are printed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from megatinybert.config.data import DataConfig
from megatinybert.config.load import load_config
from megatinybert.corpus.conversion import in_place, not_utf8
from megatinybert.corpus.wrong_text import wrong_text

POEM = "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n白日依山尽、黄河入海流。欲穷千里目、更上一层楼。\n" * 2
PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "": ("iconv", bytes),
    ".gz": ("gzip", gzip.compress),
    ".bz2": ("bzip2", bz2.compress),
    ".xz": ("xz", lzma.compress),
    ".zst": ("zstd", zstandard.compress),
}


def config(pattern: Path) -> DataConfig:
    return load_config(["--teacher.model", "unused", "--data.text", str(pattern)]).data


@pytest.mark.parametrize("packing", PACKINGS)
def test_the_command_for_one_of_several_files_is_followed_by_the_same_run(tmp_path: Path, packing: str) -> None:
    """Whose pattern matches what stands beside the file, too."""
    tool, pack = PACKINGS[packing]
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool}")
    folder = tmp_path / "my text"
    folder.mkdir()
    names = [folder / f"{name}.txt{packing}" for name in ("a", "b")]
    for path, encoding in zip(names, ("utf-8", "gb18030"), strict=True):
        path.write_bytes(pack(POEM.encode(encoding)))
    (folder / "b.utf-8.txt.gz").write_bytes(gzip.compress(b"of an earlier try"))
    (problem,) = wrong_text(config(folder / "[ab].txt*"))
    command = re.search(r"\S+ (-dc|-f) .*", problem)
    assert f"{names[1]}, line 1: not valid UTF-8 (byte 0xb4)" in problem and command
    subprocess.run(["sh", "-c", command[0]], check=True)
    assert wrong_text(config(folder / "*.txt*")) == []
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(p.name for p in names), "b.utf-8.txt.gz"])


@pytest.mark.parametrize("packing", PACKINGS)
def test_one_command_for_several_files_overwrites_nothing_else(tmp_path: Path, packing: str) -> None:
    tool, pack = PACKINGS[packing]
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool}")
    folder = tmp_path / "it's my text"
    folder.mkdir()
    encodings = ("utf-8", *6 * ["gb18030"])
    names = [folder / f"{number}.txt{packing}" for number in range(len(encodings))]
    for path, encoding in zip(names, encodings, strict=True):
        path.write_bytes(pack(POEM.encode(encoding)))
    earlier = folder / f"{names[3].name}.utf-8{packing}"
    earlier.write_bytes(b"of an earlier try")
    (problem,) = wrong_text(config(folder))
    assert problem.count(str(folder)) == 5  # paths that need no quotation: of the others the command tells
    assert f"{names[5]} and 1 more: not valid UTF-8 (byte 0xb4), in line 1 of the first. These bytes are " in problem
    command = re.search(r"for f in .*", problem)
    assert command
    subprocess.run(["sh", "-c", command[0]], check=True)
    assert wrong_text(config(folder)) == []
    assert earlier.read_bytes() == b"of an earlier try"
    assert sorted(folder.iterdir()) == sorted([*names, earlier])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_one_file_in_utf_16_without_a_mark_is_converted_in_its_byte_order(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text("plain English\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("plain English\n", encoding=encoding)
    (problem,) = wrong_text(config(tmp_path / "*.txt"))
    assert f"if all files are, use --data.encoding {encoding}; otherwise put a copy in utf-8 into its place" in problem
    subprocess.run(["sh", "-c", problem[problem.index("iconv") :]], check=True)
    assert (tmp_path / "b.txt").read_text(encoding="utf-8") == "plain English\n"
    assert wrong_text(config(tmp_path / "*.txt")) == []


def test_a_command_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\xff\xff\n"))
    command = in_place([path], "utf-8", "utf-8").partition("place: ")[2]
    assert subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0
    assert gzip.decompress(path.read_bytes()) == b"\xff\xff\n"


def test_a_file_that_has_to_be_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "a.vec"
    path.write_bytes(b"\n" + POEM.encode("gb18030"))
    told = f"{path}:2: not valid UTF-8 (byte 0xb4). These bytes are valid gb18030: put a copy in utf-8 into its place: "
    assert not_utf8(path, 2).startswith(f"{told}iconv")
    path.write_text(POEM, encoding="utf-16")
    assert not_utf8(path, 1).startswith(f"{path}:1: UTF-16, not UTF-8: put a copy in utf-8 into its place: iconv")
    packed = tmp_path / "a.vec.gz"
    packed.write_bytes(gzip.compress(POEM.encode()))
    told = not_utf8(packed, 1)
    subprocess.run(["sh", "-c", told.partition("unpack it: ")[2]], check=True)
    assert path.read_text(encoding="utf-8") == POEM
