"""torch's elastic agent (torchrun's), which starts ranks and starts them again after a fault; see agent.py."""

from __future__ import annotations

import logging
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
import traceback
import uuid
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from megatinybert.programs.launcher import ENDED_AT_ONCE, STOPPED, how_ended
from megatinybert.runtime.rendezvous import HALTED, LOST

FINAL = {2, HALTED, STOPPED, ENDED_AT_ONCE}  # exit codes after which another start would end alike, or is not wanted
_SECONDS_TO_END = 5.0  # of the other ranks after one of these, as they end so, too, and rank 0 says why
_SECONDS_TO_SAVE = 60


def run(command: Sequence[str], ranks: int, restarts: int) -> int:
    """Run `command`, a script and its arguments, on all ranks, at most `restarts` times again: the exit code."""
    logging.disable(logging.ERROR)  # of the agent, on what is foreseen
    rendezvous = RendezvousParameters(
        "c10d", "localhost:0", run_id=uuid.uuid4().hex, min_nodes=1, max_nodes=1, local_addr="127.0.0.1"
    )
    spec = WorkerSpec(
        role="rank",
        local_world_size=ranks,
        entrypoint=run_rank,
        args=(list(command),),
        rdzv_handler=get_rendezvous_handler(rendezvous),
        max_restarts=restarts,
        monitor_interval=0.1,
    )
    agent = Agent(spec, DefaultLogsSpecs(os.devnull), start_method="forkserver", shutdown_timeout=_SECONDS_TO_SAVE)
    signal.signal(signal.SIGUSR1, agent.stop)
    try:
        agent.run()
    except SignalException:
        return STOPPED
    finally:
        spec.rdzv_handler.shutdown()
    return 1 if agent.code == HALTED else agent.code % 256


def run_rank(command: list[str]) -> None:
    """In a rank's process: run the script."""
    sys.argv = command
    multiprocessing.set_start_method("fork", force=True)  # as it is by default, and not that of the server
    try:
        runpy.run_path(command[0], run_name="__main__")
    except Exception:  # which torch would keep for its agent to tell
        traceback.print_exc()
        sys.exit(1)


class Agent(LocalElasticAgent):
    """torch's, but some exit codes are final, and what happens is said in a line.

    code: with which the ranks ended; 0 if all of them did well. Negative: the signal.
    """

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.code, self._stopping = 0, False
        self._ranks: list[BaseProcess] = []

    def stop(self, *_: object) -> None:
        """As a signal handler: start no rank again."""
        self._stopping = True

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, int]:
        if self._stopping:  # asked for between two starts, when there was no rank to tell
            self._say_stopped()
            raise SignalException("stopped between two starts", signal.SIGUSR1)
        pids: dict[int, int] = super()._start_workers(worker_group)
        self.code = 0
        context: Any = self._pcontext
        self._ranks = context._pc.processes  # in local order; multiprocessing forgets those that have ended already
        return pids

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        codes = {number: rank.exitcode for number, rank in enumerate(self._ranks) if rank.exitcode}
        if codes:
            local, self.code = min(codes.items(), key=_weight)
            self._end_others()
            self._settle(worker_group.workers[local].global_rank)
        return super()._monitor_workers(worker_group)

    def _end_others(self) -> None:
        """After a fault they cannot save, so there is nothing to wait for."""
        until = time.monotonic() + (_SECONDS_TO_END if self.code in FINAL else 0.0)
        for rank in self._ranks:
            rank.join(max(until - time.monotonic(), 0.0))
            rank.kill()

    def _settle(self, rank: int) -> None:
        """Whether all start again, after the end of `rank`."""
        if self._stopping and self.code not in FINAL:
            self._say_stopped()
            self.code = STOPPED
        if self.code in FINAL:
            self._remaining_restarts = 0
        if self._remaining_restarts:
            total = self._worker_group.spec.max_restarts
            number = total - self._remaining_restarts + 1
            text = f"rank {rank} ({socket.gethostname()}) {how_ended(self.code)}: restart {number} of {total}"
            print(f"\n{text}, from the newest checkpoint", file=sys.stderr, flush=True)

    def _say_stopped(self) -> None:
        print("stopped in a fault; the same command continues from the newest checkpoint, if any", file=sys.stderr)


def _weight(end: tuple[int, int]) -> int:
    """Of several ranks that have ended, the one that tells most comes first."""
    _, code = end
    return 0 if code in FINAL else 2 if code == LOST else 1
