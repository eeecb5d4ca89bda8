"""What a run over pdsh carries to its other machines, and how it signals its ranks there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.programs import remote
from megatinybert.programs.remote import carried, signal_ranks, wait_for_launcher
from megatinybert.runtime.rendezvous import LOST
from tests.helpers.processes import wait_until

# As DeepSpeed's launcher appears in a process table, below a shell that has its words too, and above a rank.
LAUNCHER = """
(exec -a "/bin/python3 -u -m deepspeed.launcher.launch --node_rank=0 --master_port={port} launch/general.sh" \\
    bash -c 'trap "exit 1" TERM; sleep 60; exit 75')
"""


def test_what_matters_is_carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    own = {"OMP_NUM_THREADS": "4", "GLOO_SOCKET_IFNAME": "eth0", "HF_HOME": "/a b", "DS_ACCELERATOR": "cpu"}
    others = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "MEGATINYBERT_HOLDER": "me", "HF_TOKEN": "x", "HF_A": '"'}
    lines = ["DS_ACCELERATOR=cpu", "GLOO_SOCKET_IFNAME=eth0", "HF_HOME=/a b", "OMP_NUM_THREADS=4"]
    assert carried(own | others) == lines
    (tmp_path / ".deepspeed_env").write_text("OMP_NUM_THREADS=8\n\n")
    assert carried(own | others) == [*lines, "OMP_NUM_THREADS=8"]


def test_a_signal_reaches_the_ranks_of_one_run(tmp_path: Path) -> None:
    pdsh = tmp_path / "pdsh"  # of a cluster that is this machine
    pdsh.write_text('#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec sh -c "$1"\n')
    pdsh.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ports = [f"{os.getpid()}{number}" for number in (1, 2)]
    runs = [subprocess.Popen(["bash", "-c", LAUNCHER.format(port=port)]) for port in ports]
    try:
        wait_until(lambda: all("sleep" in names_below(run.pid) for run in runs), runs)
        assert not signal_ranks(["node-1"], "1", "TERM", environment)
        assert signal_ranks(["node-1"], ports[0], "TERM", environment)
        assert runs[0].wait(30) == 75 and runs[1].poll() is None
        assert signal_ranks(["node-1"], ports[1], "KILL", environment)
        assert runs[1].wait(30) != 0
    finally:
        for run in runs:
            run.kill()


def names_below(pid: int) -> list[str]:
    return [process.name() for process in psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (69, 69), (75, 75), (255, LOST)])
def test_the_launcher_is_waited_for(code: int, seen: int) -> None:
    launcher = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    assert wait_for_launcher(launcher, "node-1") == seen


def test_a_machine_that_outlasts_the_first_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "_SECONDS_BETWEEN_LOOKS", 0.2)
    monkeypatch.setattr(remote, "_SECONDS_AFTER_THE_FIRST", 1.0)
    (tmp_path / "ssh").symlink_to("/bin/sleep")
    # As pdsh: one connection for each machine, of which the first ends.
    pdsh = f"cd {tmp_path}; (exec ./ssh 2 0) & (exec ./ssh 60 0) & wait"
    launcher = subprocess.Popen(["bash", "-c", pdsh], process_group=0)
    try:
        assert wait_for_launcher(launcher, "2") is None
        assert "the machine of rank 0, 2, has ended, and others have not" in capsys.readouterr().err
    finally:
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
