"""Real processes: ranks without a launcher, waiting for what they do, killing them, and finding what they left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.helpers.toys import REPOSITORY, environment, free_port, metrics

GENERAL = ("-m", "megatinybert.general")


def start(command: Sequence[str], log: Path, cwd: Path = REPOSITORY, **variables: str) -> subprocess.Popen[str]:
    """Start a command whose stdout and stderr go to the file `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        return subprocess.Popen(
            command, cwd=cwd, env=environment(**variables), stdout=output, stderr=subprocess.STDOUT, text=True
        )


def start_ranks(
    count: int,
    program: Sequence[str],
    options: Sequence[str],
    logs: Path,
    others: Sequence[str] | None = None,
    python: Sequence[str] = (sys.executable,),
    **variables: str,
) -> list[subprocess.Popen[str]]:
    """Start the ranks of a run as the launcher would, but without it: each keeps its exit code and logs/rank-N.log.

    program: what Python runs, such as GENERAL. others: the options of all ranks but 0, where they have others. python:
    a `warm_python` for ranks that no test kills.
    """
    port = str(free_port())
    return [
        start(
            [*python, *program, *(others if others and rank else options)],
            logs / f"rank-{rank}.log",
            DS_ACCELERATOR="cpu",
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=port,
            WORLD_SIZE=str(count),
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            **variables,
        )
        for rank in range(count)
    ]


def exit_codes(processes: Sequence[subprocess.Popen[str]], seconds: float = 240) -> list[int]:
    """Wait for processes to end: their exit codes. What has not ended in time is killed, and the wait raises."""
    until = time.monotonic() + seconds
    try:
        return [process.wait(max(until - time.monotonic(), 0.1)) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_until(happened: Callable[[], bool], processes: Sequence[subprocess.Popen[str]], seconds: float = 240) -> None:
    """Wait for an event, as long as all of the processes that should bring it about are alive."""
    until = time.monotonic() + seconds
    while not happened():
        codes = [process.poll() for process in processes]
        assert all(code is None for code in codes), f"a process ended first: exit codes {codes}"
        assert time.monotonic() < until, f"nothing happened in {seconds} s"
        time.sleep(0.002)


def kill_at_step(process: subprocess.Popen[str], run_dir: Path, step: int) -> int:
    """kill -9 a run once it has logged `step`: the last step that it logged."""

    def logged() -> int:
        try:
            return metrics(run_dir)[-1]["step"]  # type: ignore[return-value]
        except (OSError, IndexError, ValueError):  # not there yet, or a line half written
            return -1

    try:
        wait_until(lambda: logged() >= step, [process])
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    return int(metrics(run_dir)[-1]["step"])


def left_behind(mark: Path) -> list[psutil.Process]:
    """The processes, other than this one, whose command line names the folder `mark`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(str(mark) in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:  # it ended meanwhile
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
