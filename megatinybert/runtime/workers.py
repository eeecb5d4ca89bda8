"""Tasks in this process or a pool of processes or threads, in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from megatinybert.runtime.signals import STOP_SIGNALS

T = TypeVar("T")
R = TypeVar("R")

TASKS_AHEAD = 2  # tasks under way per worker
_SECONDS_TO_LEAVE = 10.0  # of worker processes that have no more to do


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    make: Callable[[], Callable[[T], R]], tasks: Iterable[T], workers: int, option: str
) -> Iterator[tuple[T, R]]:
    """Yield (task, work(task)) for each task, with few of them under way. With one worker this process does it.

    make: what gives every worker a `work` of its own; it, tasks and results are picklable. option: that of `workers`.
    Raises what `make` and `work` raise, and RuntimeError where a worker process was killed.
    """
    if workers == 1:
        work = make()
        yield from ((task, work(task)) for task in tasks)
        return
    processes = _Processes(make)
    threads = ThreadPoolExecutor(workers)  # each waits for a process
    try:
        yield from _windowed(lambda task: threads.submit(processes.work, task), tasks, workers)
        processes.dismiss()
    except _Killed as error:
        raise RuntimeError(
            f"a worker process was killed, mostly a sign of too little memory: use fewer {option}"
        ) from error
    finally:
        processes.kill()  # a task may take minutes, and nobody waits for it any more
        threads.shutdown(cancel_futures=True)


def in_order_by_threads(work: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """As `in_order`, by threads of this process: where `work` mostly runs without Python's global lock, and takes no
    longer than a person waits after Ctrl-C.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        yield from _windowed(lambda task: pool.submit(work, task), tasks, workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _windowed(submit: Callable[[T], Future[R]], tasks: Iterable[T], workers: int) -> Iterator[tuple[T, R]]:
    """Hand out tasks, few ahead of the one whose result is due."""
    under_way: deque[tuple[T, Future[R]]] = deque()
    for task in tasks:
        under_way.append((task, submit(task)))
        if len(under_way) >= TASKS_AHEAD * workers:
            first, future = under_way.popleft()
            yield first, future.result()
    while under_way:
        first, future = under_way.popleft()
        yield first, future.result()


class _Killed(Exception):
    """A worker process has ended before it answered."""


class _Processes:
    """Worker processes, each asked by one thread at a time. All of them can be killed at any moment.

    ProcessPoolExecutor waits for ever where a worker ends while it starts, or Ctrl-C comes as the main thread starts
    one: the worker is not known, or a pipe stays open that all share. Here each has a pipe of its own, and no signal
    interrupts the thread that starts it.
    """

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._make = make
        self._context = multiprocessing.get_context("spawn")
        self._started: list[BaseProcess] = []
        self._idle: list[Connection] = []
        self._ending = False

    def work(self, task: Any) -> Any:
        """In a process that has nothing to do, or in a new one. Raises _Killed, too."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._start()
        try:
            return _ask(connection, task)
        finally:
            self._idle.append(connection)

    def dismiss(self) -> None:
        """Let the processes end, which have no more to do."""
        for connection in self._idle:
            connection.close()
        until = time.monotonic() + _SECONDS_TO_LEAVE
        for process in self._started:
            process.join(max(0.0, until - time.monotonic()))

    def kill(self) -> None:
        self._ending = True
        for process in self._started:
            process.kill()
        for process in self._started:
            process.join()

    def _start(self) -> Connection:
        # A process has the signal mask of the thread that starts it, which is the pool's own: what is sent to all is
        # the parent's alone to handle. Starting the tracker, as the first process would, lets signals through again.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        connection, of_process = self._context.Pipe()
        process = self._context.Process(target=_answer, args=(of_process,))
        process.start()
        of_process.close()
        self._started.append(process)
        if self._ending:  # and others may have been killed before this one was known
            process.kill()
        _ask(connection, self._make)  # which may be too large for an argument: the start would wait for its reader
        return connection


def _ask(connection: Connection, question: Any) -> Any:
    """Raises what `_answer` met, and _Killed where there is no answer."""
    try:
        connection.send(question)
        answer, error = connection.recv()
    except (EOFError, OSError) as ended:
        raise _Killed from ended
    if error is not None:
        raise error
    return answer


def _answer(questions: Connection) -> None:
    """What a worker process does. The first question is `make`, the others are tasks."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process, one core
    os.environ["RAYON_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = None
    with suppress(EOFError, OSError):  # nobody asks any more
        while True:
            question = questions.recv()
            try:
                if work is None:
                    work, answer = question(), None
                else:
                    answer = work(question)
                questions.send((answer, None))
            except Exception as error:
                error.add_note(traceback.format_exc())  # which does not travel with it
                questions.send((None, error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # the parent was killed: it ends its workers otherwise
