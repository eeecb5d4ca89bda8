"""One run at a time in an output folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from megatinybert import general, task
from megatinybert.config.schema import ConfigError
from megatinybert.runtime.dist import World
from megatinybert.training.lock import HELD_BY, check_unlocked, run_lock
from tests.helpers.toys import REPOSITORY

OPTIONS = (
    ["--data.text", str(REPOSITORY / "requirements.txt")],
    ["--task.name", "sst-2", "--student.config", "4L-312"],
)
ALONE = World(0, 1, torch.device("cpu"))
# A process that locks as a run does, without what a run imports.
HOLDER = """
import sys, types
from pathlib import Path
sys.modules["megatinybert.runtime.dist"] = types.SimpleNamespace(World=object)
from megatinybert.training.lock import _lock
held = _lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_second_run_is_refused_with_the_first_ones_host_and_process_until_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout and holder.stdout.readline() == "locked\n"
    with (
        pytest.raises(ValueError, match=rf"in use by another run \(process {holder.pid} on {socket.gethostname()}\)"),
        run_lock(tmp_path, ALONE),
    ):
        pytest.fail("two runs in one folder")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    for folder in ("teacher", "student"):
        (tmp_path / folder).mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / name).write_text("sentence\tlabel\nfine\t1\n")
    task_options = [*OPTIONS[1], "--task.data_dir", str(tmp_path)]
    common = ["--teacher.model", str(tmp_path / "teacher"), "--run.output_dir", str(tmp_path)]
    for read, given in ((general.read_arguments, OPTIONS[0]), (task.read_arguments, ["all", *task_options])):
        with pytest.raises(ConfigError, match=f"in use by another run .process {holder.pid} on "):  # before start-up
            read([*given, *common], True)
    task.read_arguments(["eval", *task_options, *common], True)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    check_unlocked(tmp_path)
    check_unlocked(tmp_path / "none")
    with run_lock(tmp_path, ALONE):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()
    monkeypatch.setenv(HELD_BY, "process 1 on the-front")  # as ranks of a launcher have it
    with run_lock(tmp_path, ALONE):  # one after the other
        assert (tmp_path / ".lock").read_text() == "process 1 on the-front\n"


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    with run_lock(tmp_path, ALONE):
        pass
    assert "cannot be locked" in capsys.readouterr().err
