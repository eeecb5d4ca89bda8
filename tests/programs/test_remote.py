"""What a run over pdsh carries to its other machines, and how it signals its ranks there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.programs.remote import carried, signal_ranks

# As DeepSpeed's launcher appears in a process table, and below it a rank.
LAUNCHER = (
    "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)']).returncode)"
)


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
    marks = [f"{os.getpid()}{number}" for number in (1, 2)]
    runs = [
        subprocess.Popen([sys.executable, "-c", LAUNCHER, "deepspeed.launcher.launch", f"--master_port={mark}", "x"])
        for mark in marks
    ]
    try:
        while not all(psutil.Process(run.pid).children() for run in runs):
            pass
        assert not signal_ranks(["node-1"], "1", "TERM", environment)
        assert signal_ranks(["node-1"], marks[0], "TERM", environment)
        assert runs[0].wait(30) != 0 and runs[1].poll() is None
        assert signal_ranks(["node-1"], marks[1], "KILL", environment)
        assert runs[1].wait(30) != 0
    finally:
        for run in runs:
            run.kill()
