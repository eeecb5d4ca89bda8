"""The lock that keeps other processes out, and folders that are replaced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatinybert.runtime import files
from megatinybert.runtime.files import file_lock, publish_folder
from tests.helpers.toys import REPOSITORY, environment

HOLD = """
import sys
from pathlib import Path
from megatinybert.runtime.files import file_lock
with file_lock(Path(sys.argv[1]), "busy", wait=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds tmp_path / "lock" until it reads a line."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment(), text=True, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_that_another_process_holds_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(ValueError, match="^another build$"), file_lock(tmp_path / "lock", "another build", wait=False):
        raise AssertionError("two processes are in")
    assert (tmp_path / "lock").exists()
    holder.communicate("\n", timeout=30)
    assert not (tmp_path / "lock").exists()  # it removed its file


@pytest.mark.parametrize("wait", [False, True])
def test_a_killed_process_leaves_the_file_but_not_the_lock(
    tmp_path: Path, holder: subprocess.Popen[str], wait: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    holder.kill()
    holder.wait(timeout=30)
    assert (tmp_path / "lock").exists()
    with file_lock(tmp_path / "lock", "busy", wait=wait):
        pass
    assert (tmp_path / "lock").exists() == wait and capfd.readouterr().err == ""


def new_folder(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


def test_a_folder_is_replaced_without_a_moment_in_which_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "student"
    publish_folder(new_folder(tmp_path / "first", "1"), final)
    assert (final / "file").read_text() == "1"
    with monkeypatch.context() as patch:
        patch.setattr("os.rename", lambda *_: pytest.fail("what stood there was renamed away"))
        publish_folder(new_folder(tmp_path / "second", "2"), final)
    assert (final / "file").read_text() == "2" and [path.name for path in tmp_path.iterdir()] == ["student"]
    monkeypatch.setattr(files, "_exchange", lambda *_: False)  # as on NFS
    publish_folder(new_folder(tmp_path / "third", "3"), final)
    assert (final / "file").read_text() == "3" and [path.name for path in tmp_path.iterdir()] == ["student"]
