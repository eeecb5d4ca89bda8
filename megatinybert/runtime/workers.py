"""Tasks in this process or a pool of processes or threads, in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

TASKS_AHEAD = 2  # tasks under way per worker


def usable_cores() -> int:
    """CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    make: Callable[[], Callable[[T], R]], tasks: Iterable[T], workers: int, option: str
) -> Iterator[tuple[T, R]]:
    """Yield (task, work(task)) for each task, with few of them under way. With one worker this process does it.

    make: what gives every worker a `work` of its own; it, tasks and results are picklable. option: that of `workers`.
    Raises what `work` raises, and RuntimeError where a worker process was killed.
    """
    if workers == 1:
        work = make()
        yield from ((task, work(task)) for task in tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (make,))
    try:
        yield from _windowed(partial(_submit, pool), tasks, workers)
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a worker process was killed, mostly a sign of too little memory: use fewer {option}"
        ) from error
    except BaseException:
        for process in list((pool._processes or {}).values()):  # Python 3.14 has terminate_workers() for this
            process.terminate()  # a task may take minutes, and nobody waits for it any more
        raise
    finally:
        pool.shutdown(cancel_futures=True)


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


def _submit(pool: ProcessPoolExecutor, task: Any) -> Future[Any]:
    # A worker may be started here and inherits the signal mask: Ctrl-C is then the parent's alone to handle.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.submit(_work_in_worker, task)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


# Of a worker process, set once when it starts: the executor hands its functions nothing that lasts between calls.
_work: Callable[[Any], Any] | None = None


def _start_worker(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process, one core
    os.environ["RAYON_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = make()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # the parent was killed: it ends its workers otherwise


def _work_in_worker(task: Any) -> Any:
    assert _work is not None
    return _work(task)
