"""Worker processes: order and errors, and an end within bounds whatever happens to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.runtime.signals import STOP_SIGNALS
from megatinybert.runtime.workers import in_order

REPOSITORY = Path(__file__).resolve().parents[2]  # not from the helpers: workers import this file, and would PyTorch
LARGE = bytes(1_000_000)  # as a tokenizer: more than a pipe holds

# SIGTERM is as Ctrl-C, as it is for a rank that is not in training.
SLOW = """
import signal, sys
from functools import partial
from megatinybert.runtime.workers import in_order
from tests.runtime.test_workers import LARGE, doubling
signal.signal(signal.SIGTERM, signal.default_int_handler)
if __name__ == "__main__":
    try:
        for _ in in_order(partial(doubling, seconds=1.0, ballast=LARGE), [(task, LARGE) for task in range(300)], 2, ""):
            print("one", flush=True)
    except KeyboardInterrupt:
        sys.exit(75)
"""


def doubling(fails_at: int = 99, killed_at: int = 99, seconds: float = 0.0, ballast: bytes = b"") -> Callable:
    if fails_at < 0:
        raise ValueError("of the start")
    if killed_at < 0:
        os.kill(os.getpid(), signal.SIGKILL)

    def work(task: tuple[int, bytes]) -> tuple[int, bytes]:
        time.sleep(seconds)
        number, ballast = task
        if number == fails_at:
            raise OSError(f"task {number}")
        if number == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number, ballast

    return work


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_errors(workers: int) -> None:
    tasks = [(number, LARGE) for number in range(20)]
    done = list(in_order(partial(doubling, ballast=LARGE), tasks, workers, "--workers"))
    assert [(task[0], result[0]) for task, result in done] == [(number, 2 * number) for number in range(20)]
    for fails_at, kind, message in ((7, OSError, "^task 7"), (-1, ValueError, "^of the start")):
        with pytest.raises(kind, match=message):
            list(in_order(partial(doubling, fails_at), tasks, workers, "--workers"))
    assert not workers_of(psutil.Process())


@pytest.mark.parametrize("killed_at", [-1, 7])
def test_a_killed_worker_is_told(killed_at: int) -> None:
    tasks = [(number, LARGE) for number in range(20)]
    with pytest.raises(RuntimeError, match=r"^a worker process was killed, .*: use fewer --workers$"):
        list(in_order(partial(doubling, killed_at=killed_at, ballast=LARGE), tasks, 2, "--workers"))
    assert not workers_of(psutil.Process())


def test_what_is_sent_to_all_is_the_parents_to_handle() -> None:
    done = in_order(doubling, [(number, b"") for number in range(20)], 2, "--workers")
    next(done)
    for worker in workers_of(psutil.Process()):
        for number in STOP_SIGNALS:
            worker.send_signal(number)
    assert len(list(done)) == 19


@pytest.mark.parametrize("starting", [True, False])
def test_a_signal_to_all_ends_all(starting: bool) -> None:
    """Also workers that do not answer it, or have only begun to start, as on a busy machine."""
    process = psutil.Popen(
        [sys.executable, "-c", SLOW],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers: list[psutil.Process] = []
    try:
        if not starting:
            assert process.stdout.readline() == "one\n"
        while not workers:
            assert process.poll() is None
            workers = workers_of(process)
        for worker in workers:
            worker.suspend()
        time.sleep(0.2)
        workers = workers_of(process)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.communicate(timeout=20)[1] == "" and process.returncode == 75
        assert not psutil.wait_procs(workers, timeout=5)[1]
    finally:
        for each in (process, *workers):
            if each.is_running():
                each.kill()


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    living = [each for each in process.children() if each.status() != psutil.STATUS_ZOMBIE]  # as other tests leave
    return [each for each in living if "--multiprocessing-fork" in each.cmdline()]
