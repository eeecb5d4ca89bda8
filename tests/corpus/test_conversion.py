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
from megatinybert.config.flat import OptionNames
from megatinybert.config.load import load_config
from megatinybert.corpus.conversion import advice, in_place, not_utf8
from megatinybert.corpus.wrong_text import wrong_text

NAMES = OptionNames()
POEM = "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n白日依山尽、黄河入海流。欲穷千里目、更上一层楼。\n" * 2
PACKINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "": ("iconv", bytes),
    ".gz": ("gzip", gzip.compress),
    ".bz2": ("bzip2", bz2.compress),
    ".xz": ("xz", lzma.compress),
    ".zst": ("zstd", zstandard.compress),
}


def test_advice_names_what_the_bytes_may_be() -> None:
    """And that the option holds for all files: where one of several is in another encoding, it leads nowhere."""
    file = Path("a.txt")
    ways = (
        "if all files are, use --encoding {0}; to lose these characters, use --invalid-utf8 replace; otherwise put a "
        "copy in {1} into its place: iconv -f {0} -t {1} a.txt > a.{1}.txt && mv a.{1}.txt a.txt"
    )
    told = advice(POEM.encode("gb18030"), "utf-8", NAMES, file)
    assert told == f"These bytes are valid gb18030: {ways.format('gb18030', 'utf-8')}"
    chinese = "這是繁體中文的檔案、內容很長。\n".encode("big5")
    assert f"valid gb18030 and big5: {ways.format('gb18030', 'utf-8')}" in advice(chinese, "utf-8", NAMES, file)
    assert f"valid utf-8: {ways.format('utf-8', 'gb18030')}" in advice(POEM.encode(), "gb18030", NAMES, file)
    french = "un café, «oui», ça va: où, à côté?\n".encode("cp1252")
    assert advice(french, "utf-8", NAMES, file).startswith("These bytes are valid cp1252: if all files are, use --enc")
    assert advice(b"\xff\xff \xff\n", "utf-8", NAMES, file) == "Convert the file, or use --invalid-utf8 replace"
    told = advice(POEM.encode("gb18030"), "utf-8", NAMES, None)
    assert told == "These bytes are valid gb18030: convert the table's texts, or use --invalid-utf8 replace"


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
    command = in_place(path, "utf-8", "utf-8").partition("place: ")[2]
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
