"""Signals to the process that starts the launcher, here a stand-in: two processes above a rank, as DeepSpeed has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from megatinybert.programs import launcher
from megatinybert.programs.launcher import ENDED_AT_ONCE, STOPPED
from megatinybert.runtime.signals import ONE_SIGNAL
from tests.helpers.processes import left_behind, wait_until
from tests.helpers.toys import REPOSITORY, environment

RUNNER = """#!{python}
import subprocess, sys
code = subprocess.Popen([sys.executable, sys.argv[-1] + "/launch.py", "deepspeed.launcher.launch", sys.argv[-1]]).wait()
sys.exit(max(code, 0))  # 0 of one that was killed
"""
LAUNCH = """
import pathlib, signal, subprocess, sys, time
folder = sys.argv[-1]
rank = subprocess.Popen([sys.executable, folder + "/rank.py", folder])
signal.signal(signal.SIGTERM, lambda *_: (rank.kill(), open(folder + "/lost", "w"), sys.exit(1)))
code = rank.wait()
(pathlib.Path(folder) / "ended").touch()
time.sleep(1.5 * (pathlib.Path(folder) / "end").exists())
sys.exit(code % 256)
"""
RANK = """
import os, pathlib, signal, sys, time
folder, stopped = pathlib.Path(sys.argv[-1]), []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
(folder / "launcher").write_text(str(os.getppid()))
(folder / "holder").write_text(os.environ["MEGATINYBERT_HOLDER"])
(folder / "ready").touch()
while not stopped or (folder / "stubborn").exists():
    time.sleep(0.02)
    if (folder / "end").exists():
        sys.exit(0)
(folder / "saved").touch()
sys.exit(75)
"""

LINGERS = """
import subprocess, sys
from megatinybert.programs import launcher
from megatinybert.programs.launch_options import Launch
launcher._SECONDS_TO_LEAVE = 0.1
sleeps = [sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]]
starter = [sys.executable, "-c", f"import subprocess; subprocess.Popen({sleeps})"]
process = subprocess.Popen(starter, process_group=0)
sys.exit(launcher._Front(process, Launch([], {}, remote=False, restarts=int(sys.argv[1]))).wait())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deepspeed").write_text(RUNNER.format(python=sys.executable))
    (tmp_path / "deepspeed").chmod(0o755)
    (tmp_path / "launch.py").write_text(LAUNCH)
    (tmp_path / "rank.py").write_text(RANK)
    return tmp_path


def start(folder: Path, **more: str) -> subprocess.Popen[str]:
    """What starts the launcher, once its rank is there."""
    program = "import sys; from megatinybert.programs.launcher import launch; sys.exit(launch(sys.argv[1:]))"
    variables = environment(PATH=f"{folder}:{os.environ['PATH']}", CUDA_VISIBLE_DEVICES="", **more)
    command = [sys.executable, "-c", program, str(folder)]
    front = subprocess.Popen(command, cwd=REPOSITORY, env=variables, stderr=subprocess.PIPE, text=True)
    wait_until((folder / "ready").exists, [front])
    return front


def ended(front: subprocess.Popen[str], folder: Path) -> tuple[int, list[str]]:
    """(exit code, what was said after the start); nobody is left."""
    try:
        said = front.communicate(timeout=60)[1]
        assert left_behind(folder) == []
    finally:
        for process in left_behind(folder):
            process.kill()
    return front.returncode, [line for line in said.splitlines()[1:] if line]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_reaches_the_ranks_and_their_exit_code_comes_through(number: signal.Signals, folder: Path) -> None:
    front = start(folder)
    front.send_signal(number)
    again = "; Ctrl-C again ends it at once" if number == signal.SIGINT else ""
    assert ended(front, folder) == (STOPPED, [f"stopping, if in training after this step{again}"])
    assert (folder / "saved").exists() and not (folder / "lost").exists()
    assert (folder / "holder").read_text() == f"process {front.pid} on {socket.gethostname()}"


def test_a_signal_after_the_last_rank_has_ended_changes_nothing(folder: Path) -> None:
    """The launcher takes a second or two to end after its ranks; they were seen while they ran."""
    front = start(folder)
    time.sleep(2 * launcher._SECONDS_BETWEEN_LOOKS)
    (folder / "end").touch()
    wait_until((folder / "ended").exists, [front])
    front.send_signal(signal.SIGTERM)
    assert ended(front, folder) == (0, [])


def test_a_signal_before_the_first_rank_is_there_ends_what_would_start_it(folder: Path) -> None:
    (folder / "deepspeed").write_text(f"#!/bin/sh\ntouch {folder}/ready\nsleep 600\n")
    front = start(folder)
    front.send_signal(signal.SIGTERM)
    said = ["stopped before the run began; the same command starts or continues it"]
    assert ended(front, folder) == (STOPPED, said)


def test_a_signal_to_a_rank_that_is_still_loading_ends_it_in_the_same_words(folder: Path) -> None:
    """It has no handler yet."""
    (folder / "rank.py").write_text(f"open({str(folder / 'ready')!r}, 'w')\nimport time\ntime.sleep(600)\n")
    front = start(folder)
    front.send_signal(signal.SIGTERM)
    code, said = ended(front, folder)
    assert code == STOPPED
    assert said == [
        "stopping, if in training after this step",
        "stopped before the run began; the same command starts or continues it",
    ]


def test_the_same_where_nobody_reads_any_more(folder: Path) -> None:
    """As in `sh launch/general.sh | tee log`, where Ctrl-C ends tee as well."""
    front = start(folder)
    assert front.stderr is not None
    front.stderr.close()
    front.send_signal(signal.SIGINT)
    assert front.wait(60) == STOPPED
    assert (folder / "saved").exists() and not (folder / "lost").exists()


def test_a_second_ctrl_c_ends_all_at_once(folder: Path) -> None:
    (folder / "stubborn").touch()
    front = start(folder)
    front.send_signal(signal.SIGINT)
    assert front.stderr is not None
    while "stopping" not in front.stderr.readline():
        pass
    time.sleep(ONE_SIGNAL)
    front.send_signal(signal.SIGINT)
    said = "ended at once; the same command starts or continues the run"
    assert ended(front, folder) == (ENDED_AT_ONCE, [said])


def test_one_that_is_sent_twice_is_one(folder: Path) -> None:
    """As `timeout -s INT 8 sh launch/general.sh` does."""
    front = start(folder)
    front.send_signal(signal.SIGINT)
    time.sleep(0.005)
    front.send_signal(signal.SIGINT)
    code, said = ended(front, folder)
    assert (code, [line.split(";")[0] for line in said]) == (STOPPED, ["stopping, if in training after this step"])
    assert (folder / "saved").exists() and not (folder / "lost").exists()


def test_ranks_whose_launcher_was_killed_are_ended(folder: Path) -> None:
    front = start(folder)
    os.kill(int((folder / "launcher").read_text()), signal.SIGKILL)
    assert ended(front, folder) == (1, [])
    assert (folder / "saved").exists()


@pytest.mark.parametrize(("restarts", "code"), [(0, 1), (1, 0)])
def test_what_lingers_after_code_0_casts_doubt_on_the_launcher_but_not_on_the_agent(
    restarts: int, code: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LINGERS, str(restarts), str(tmp_path)]
    assert subprocess.run(command, cwd=REPOSITORY, env=environment(), timeout=60, check=False).returncode == code
    assert left_behind(tmp_path) == []


def test_a_killed_rank_is_told(folder: Path) -> None:
    front = start(folder)
    [rank] = [process for process in left_behind(folder) if "rank.py" in process.cmdline()[1]]
    rank.kill()
    code, said = ended(front, folder)
    assert code == 247 and said == [
        "error: a process of the run was ended by SIGKILL, which the kernel sends where memory runs out; "
        "what it said is above"
    ]


def test_over_pdsh_what_no_signal_reaches_is_ended(folder: Path) -> None:
    """As where the launchers of other machines have not started their ranks yet."""
    (folder / "pdsh").write_text(f'#!/bin/sh\necho "$@" >>{folder}/asked\n')
    (folder / "pdsh").chmod(0o755)
    (folder / "hosts").write_text("node-1 slots=1\nnode-2 slots=1\n")
    front = start(folder, HOSTFILE=str(folder / "hosts"))
    front.send_signal(signal.SIGTERM)
    said = [
        "stopping on all machines, if in training after this step",
        "stopped while no rank was running; the same command starts or continues it",
    ]
    assert ended(front, folder) == (STOPPED, said)
    asked = (folder / "asked").read_text()
    assert asked.count("-w node-1,node-2") == 2 and "pkill -TERM -P" in asked and "pkill -KILL -P" in asked
