"""What is said of a file that is in another encoding, or has other line ends: a command that can be followed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.lines import lines_of
from megatinybert.tasks.reading.read import open_task

BAD = "这部电影很不好看、我们大家都不喜欢"


def refusal(path: Path, layout: Layout | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        list(lines_of(path, layout or Layout()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (f"{BAD}\t0\n".encode("gb18030"), f"{BAD}\t0"),
        ("fine\t1\n".encode("utf-16-le"), "fine\t1"),
        (b"a\t0\rb\t1\r", "a\t0"),
    ],
    ids=["gb18030", "utf-16-le", "CR alone"],
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
    path.write_text("a fine film 很好看、我们都喜欢\tgood\na dull film 难看、我们都不喜欢\tbad\n", encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("said", "found"), [("utf-8", "gb18030"), ("utf-8", "utf-16-le"), ("gb18030", "utf-8"), ("utf-8", "utf-32-be")]
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
    "data", [f"{BAD}\tbad\n好\tgood\n".encode("gb18030"), b"a\tbad\rb\tgood\r"], ids=["gb18030", "CR"]
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("said", ["utf-8", "gb18030"])
def test_a_mark_says_how_a_file_is_read(tmp_path: Path, encoding: str, said: str) -> None:
    """As of the text of general distillation."""
    text = f"{BAD}\tbad\r\nfine\tgood\n"
    for name, content in (("train.txt", text.encode(encoding)), ("dev.txt", "好\tgood\n".encode(said))):
        (tmp_path / name).write_bytes(content)
    layout = open_task("custom", str(tmp_path), layout=Layout(encoding=said)).task.layout
    assert list(lines_of(tmp_path / "train.txt", layout)) == [(1, f"{BAD}\tbad\r"), (2, "fine\tgood")]


def test_what_no_copy_can_hold_is_read_in_utf_8(tmp_path: Path) -> None:
    """The other files become so by the command that is suggested."""
    (tmp_path / "train.txt").write_text(f"{BAD * 3}\tbad\n", encoding="utf-8")
    for name, content in (("dev.txt", "un café\tgood\n"), ("test.txt", "un thé\n")):
        (tmp_path / name).write_text(content, encoding="cp1252")
    layout = Layout(encoding="cp1252", files=tuple(tmp_path / f"{name}.txt" for name in ("train", "dev", "test")))
    message = refusal(tmp_path / "train.txt", layout)
    since = f"since --task.encoding holds for {tmp_path / 'dev.txt'}, too, which is cp1252 and has no '这', leave "
    assert f"not cp1252 but UTF-8: {since}--task.encoding out, and put copies in utf-8 into their places: " in message
    subprocess.run(["sh", "-c", message[message.index("for f in") :]], check=True)
    texts = [text for path in layout.files for _, text in lines_of(path, Layout(files=layout.files))]
    assert texts == [f"{BAD * 3}\tbad", "un café\tgood", "un thé"]
    alone = Layout(encoding="cp1252", files=(tmp_path / "train.txt",))
    (tmp_path / "train.txt").write_text(f"{BAD * 3}\tbad\n", encoding="utf-8")
    assert refusal(tmp_path / "train.txt", alone).endswith("not cp1252 but UTF-8: leave --task.encoding out")


def test_few_letters_are_left_to_a_person(tmp_path: Path) -> None:
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("不好\tbad\n", encoding="gb18030")
    path = tmp_path / "train.txt"
    message = refusal(path, Layout(files=(path, tmp_path / "dev.txt")))
    assert "These bytes read '不好\\tbad' in gb18030 and " in message
    assert "take the one that is right for ENCODING: use --task.encoding ENCODING, or put a copy in utf-8" in message
    (tmp_path / "dev.txt").write_text("很好\tgood\n", encoding="utf-8")
    message = refusal(path, Layout(files=(path, tmp_path / "dev.txt")))
    assert f"ENCODING: since --task.encoding holds for {tmp_path / 'dev.txt'}, too" in message
