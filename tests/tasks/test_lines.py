"""What is said of a file that is in another encoding, or has other line ends: a command that can be followed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from megatinybert.tasks.layout import Layout
from megatinybert.tasks.lines import lines_of
from megatinybert.tasks.read import open_task


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


def write(folder: Path, name: str, encoding: str) -> Path:
    path = folder / name
    path.write_text("a fine film 很好\tgood\na dull film 难看\tbad\n", encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("said", "found"), [("utf-8", "gb18030"), ("utf-8", "utf-16-le"), ("gb18030", "utf-8"), ("utf-8", "utf-16")]
)
def test_the_option_is_not_suggested_where_other_files_of_the_task_are_in_another(
    tmp_path: Path, said: str, found: str
) -> None:
    """Followed, it would lead to the refusal of these. What is suggested is read by the options that are given."""
    for name in ("train.txt", "dev.txt"):
        write(tmp_path, name, said)
    given = {} if said == "utf-8" else {"encoding": said}
    task = open_task("custom", str(tmp_path), layout=Layout(**given)).task
    path = write(tmp_path, "new.txt", found)
    path.write_bytes(path.read_bytes() * 20)
    message = refusal(path, task.layout)
    assert f"since --task.encoding holds for {tmp_path / 'train.txt'}, too, which is {said}, make a copy" in message
    assert "use --task.encoding" not in message and "leave" not in message
    command = re.search(r"iconv .*", message)
    assert command, "a command is suggested"
    subprocess.run(["sh", "-c", command[0]], check=True)
    assert len(list(lines_of(tmp_path / f"new.{said}.txt", task.layout))) == 40


def test_the_option_is_suggested_where_other_files_are_alike_or_plain(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "gb18030")
    (tmp_path / "dev.txt").write_text("fine\tgood\n")
    with pytest.raises(ValueError, match=r"use --task\.encoding gb18030, or put a copy in utf-8 into its place: iconv"):
        open_task("custom", str(tmp_path))


@pytest.mark.parametrize(
    "data", ["不好\tbad\n好\tgood\n".encode("gb18030"), b"a\tbad\rb\tgood\r"], ids=["gb18030", "CR"]
)
def test_what_is_suggested_for_a_tasks_own_file_is_read_by_the_same_command(tmp_path: Path, data: bytes) -> None:
    """Whose name alone says what it is."""
    folder = tmp_path / "my rows"
    folder.mkdir()
    (folder / "train.txt").write_bytes(data)
    (folder / "dev.txt").write_text("fine\tgood\n")
    with pytest.raises(ValueError) as caught:
        open_task("custom", str(folder))
    command = re.search(r"(iconv|tr) .*", str(caught.value))
    assert command, "a command is suggested"
    subprocess.run(["sh", "-c", command[0]], check=True)
    task = open_task("custom", str(folder)).task
    assert len(list(lines_of(folder / "train.txt", task.layout))) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["dev.txt", "train.txt"]
