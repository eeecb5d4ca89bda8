"""What is said of a file that is in another encoding, or has other line ends: a command that can be followed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from megatinybert.tasks.layout import Layout
from megatinybert.tasks.lines import lines_of


def refusal(path: Path, layout: Layout | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        list(lines_of(path, layout or Layout()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [("不好\t0\n".encode("gb18030"), "不好\t0"), ("fine\t1\n".encode("utf-16"), "fine\t1"), (b"a\t0\rb\t1\r", "a\t0")],
    ids=["gb18030", "utf-16", "CR alone"],
)
def test_the_suggested_command_makes_a_copy_and_overwrites_nothing(tmp_path: Path, data: bytes, text: str) -> None:
    """Followed from the folder of a file called as an earlier suggestion was, with a space in its path."""
    folder = tmp_path / "my rows"
    folder.mkdir()
    path = folder / "new.txt"
    path.write_bytes(data)
    for number in (1, 2):
        before = {file: file.read_bytes() for file in folder.iterdir()}
        command = re.search(r"(iconv|tr) .*", refusal(path))
        assert command, "a command is suggested"
        subprocess.run(["sh", "-c", command[0]], cwd=folder, check=True)
        assert {file: file.read_bytes() for file in before} == before
        (made,) = set(folder.iterdir()) - before.keys()
        assert made.suffix == ".txt" and next(lines_of(made, Layout())) == (1, text), number
