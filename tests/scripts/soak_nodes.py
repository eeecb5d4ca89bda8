"""The faults of a soak (soak.py) on two nodes: cables that are cut, ranks that are killed or frozen for a while."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from megatinybert.programs.launcher import STOPPED
from megatinybert.runtime.rendezvous import LOST
from tests.helpers.cluster import Cluster
from tests.scripts.soak_run import LONGEST, SETTLED, Soaked

NODES = (1, 2)
# How often each kind is inflicted in 30 minutes.
FAULTS = {
    "cable cut for 2 to 5 s": 12,
    "cable cut for 15 to 30 s": 12,
    "SIGKILL of a rank": 12,
    "SIGSTOP of a rank for 15 to 30 s": 6,
}


class TwoNodes(Soaked):
    """A rank on each node, started there as launch/kubernetes/general.yaml does.

    Where a node's start ends by a code that says so, or is killed, the same command is started there again, whatever
    the other node does.
    """

    def __init__(self, options: Sequence[str], drawn: Path, pause: float, cluster: Cluster) -> None:
        super().__init__(options, drawn, pause)
        self._cluster = cluster
        self._hosts = cluster.hostfile(drawn.with_name(f"{drawn.name} hosts"), *NODES)
        self._starts: dict[int, subprocess.Popen[str]] = {}

    def start(self) -> None:
        for node in NODES:
            self._start(node)

    def goes_on(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            codes = {node: start.poll() for node, start in self._starts.items()}
            for node, code in codes.items():
                if code is not None and may_continue(code):
                    self._start(node)
            if all(code == 0 for code in codes.values()) or any(is_final(code) for code in codes.values()):
                return False
            if time.monotonic() >= until:
                return True
            time.sleep(0.02)

    def ended(self) -> int:
        """The code that is not 0, where there is one."""
        code = next((code for start in self._starts.values() if (code := start.poll())), 0)
        left = [] if code else self._cluster.left_behind(seconds=LONGEST)
        if left:
            raise RuntimeError(f"{left} are left behind")
        return code

    def remove(self) -> None:
        while self._cluster.left_behind(seconds=0):
            pass
        for start in self._starts.values():
            start.wait()

    def inflict(self, kind: str, choose: random.Random) -> list[str]:
        node = choose.choice(NODES)
        seconds = choose.uniform(2, 5) if "2 to 5 s" in kind else choose.uniform(15, 30)
        self.goes_on(SETTLED)
        if "cable" in kind:
            self._cluster("cut", str(node))
            self.goes_on(seconds)
            self._cluster("join", str(node))
            return []
        [rank] = self._cluster.ranks(node)
        if "SIGKILL" in kind:
            rank.kill()
            return []
        rank.send_signal(signal.SIGSTOP)
        self.goes_on(seconds)
        rank.send_signal(signal.SIGCONT)
        return []

    def _start(self, node: int) -> None:
        arguments = f"--no_ssh --node_rank {node - 1} --master_addr node-1"
        self._starts[node] = self._cluster.start(
            node,
            [sys.executable, "tests/scripts/drawing.py", *self.options],
            self.log(f" node-{node}"),
            **self.variables(HOSTFILE=str(self._hosts), DEEPSPEED_ARGS=arguments),
        )


def may_continue(code: int) -> bool:
    """What a start's exit code says, as docs/cluster.md has it; negative or above 128: a signal."""
    return code in (LOST, STOPPED) or code < 0 or code > 128


def is_final(code: int | None) -> bool:
    """Whether it says that the start would fail again."""
    return bool(code) and not may_continue(code)
