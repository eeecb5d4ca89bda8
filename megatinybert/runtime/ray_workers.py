"""Tasks on the machines of a Ray cluster, in order; see workers.py, whose interface this has."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from megatinybert.runtime.counts import counted
from megatinybert.runtime.workers import TASKS_AHEAD, usable_cores

T = TypeVar("T")
R = TypeVar("R")

HERE = "local"  # in place of an address: Ray is started on this machine, and ends with the build
INSTALL = "pip install ray==2.60.0"
_RETRIES = 3  # of a task whose worker was killed


@contextmanager
def ray_cluster(address: str, workers: int, option: str, option_of_workers: str) -> Iterator[int]:
    """Join a cluster, or start one here: the number of workers to use, of `workers` asked for (0: one per core).

    option: that of the address. Raises ValueError where Ray is not installed, there is no cluster at the address, it
    does not answer, or it has fewer cores.
    """
    if find_spec("ray") is None:
        raise ValueError(f"{option} {address}: Ray is not installed: {INSTALL}")
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}  # which are raised here
    import ray

    # The workers get this package from here: it need not be installed there, and is the same.
    settings: dict[str, Any] = {"runtime_env": {"py_modules": [str(Path(__file__).parents[1])]}}
    if address == HERE:
        settings |= {"include_dashboard": False, "num_cpus": workers or usable_cores()}
    try:
        ray.init(address, logging_level="error", log_to_driver=False, **settings)
    except Exception as error:  # of Ray's own, or bare
        problem = "Ray does not start on this machine" if address == HERE else "no Ray cluster answers there"
        raise ValueError(f"{option} {address}: {problem} ({error})") from error
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if workers > cores or not cores:
            raise ValueError(f"{option_of_workers} {workers}: the Ray cluster has {counted(cores, 'core')}")
        yield workers or cores
    finally:
        ray.shutdown()


def in_order_by_ray(
    make: Callable[[], Callable[[T], R]], tasks: Iterable[T], workers: int, option: str
) -> Iterator[tuple[T, R]]:
    """As `in_order`, by workers of the cluster that was joined. Where a worker is killed, or its machine lost, Ray
    starts another one and its tasks again.

    Raises what `make` and `work` raise, and RuntimeError where a task has lost its workers four times, or a worker
    cannot be started.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=_RETRIES)(_Worker)
    kept = ray.put(make)  # as long as this function runs: a worker that is started again needs it again
    actors = [worker.remote(kept) for _ in range(workers)]
    # What each worker has to do, with opening as its first tasks: it gets others only when it is there, so that none
    # waits for a machine that is slow to come.
    busy = {actor.open.remote(): actor for actor in actors for _ in range(TASKS_AHEAD)}
    under_way: deque[tuple[T, Any]] = deque()
    try:
        for task in tasks:
            if len(under_way) >= TASKS_AHEAD * workers:
                first, result = under_way.popleft()
                yield first, ray.get(result)
            (done,), _ = ray.wait(list(busy), num_returns=1)
            actor = busy.pop(done)
            ray.get(done)  # raises here what went wrong in opening
            under_way.append((task, actor.work.remote(task)))
            busy[under_way[-1][1]] = actor
        while under_way:
            first, result = under_way.popleft()
            yield first, ray.get(result)
    except RayTaskError as error:
        raise error.cause from error
    except RayError as error:
        raise RuntimeError(
            f"Ray cannot go on ({error}). Where workers are killed, mostly for too little memory, use fewer {option}"
        ) from error
    finally:
        for actor in actors:
            ray.kill(actor)


class _Worker:
    """A process of its own. It makes its `work` when it is first needed, also where it replaces a killed one: what is
    raised in an actor's constructor comes as text alone.
    """

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process, one core
        os.environ["RAYON_NUM_THREADS"] = "1"
        self._make = make
        self._work: Callable[[Any], Any] | None = None

    def open(self) -> None:
        self._work = self._work or self._make()

    def work(self, task: Any) -> Any:
        self.open()
        assert self._work is not None
        return self._work(task)
