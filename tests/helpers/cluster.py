"""The little cluster of tests/cluster/cluster.sh: nodes of this machine, and what runs on them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.helpers.processes import wait_until
from tests.helpers.toys import REPOSITORY, environment, recipe

SCRIPT = str(REPOSITORY / "tests" / "cluster" / "cluster.sh")
PREFIX = "mtb"  # of a cluster's name, which ends in the number of the process that made it
GENERAL = "launch/general.sh"
PYTHON_GENERAL = [sys.executable, "-m", "megatinybert.general"]


def options(inputs: Path, folder: Path, **overrides: object) -> list[str]:
    """Of a run of two steps, whose start is as short as it can be."""
    short: dict[str, object] = {"run.max_steps": 2, "run.compile": "never", "student.hidden_dropout": 0.0}
    return recipe(inputs, **{**short, "run.output_dir": folder / "run", **overrides})


def missing() -> str:
    """What this machine lacks for a cluster, for a person to read; "" where nothing is."""
    return subprocess.run([SCRIPT, "missing"], capture_output=True, text=True, check=False).stdout.strip()


def remove_orphans() -> None:
    """Remove the clusters of tests that were killed, and so could not do it themselves."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for owner in {int(number) for number in re.findall(rf"^{PREFIX}(\d+)-", listed, re.M)}:
        if not psutil.pid_exists(owner):
            subprocess.run([SCRIPT, "down"], env={**os.environ, "CLUSTER": f"{PREFIX}{owner}"}, check=True)


def own_cluster(folder: Path, size: int) -> Cluster:
    """Of this process, so that others may have theirs beside it. folder: for keys and logs, which `down` removes."""
    remove_orphans()
    number = os.getpid() % 250
    return Cluster(f"{PREFIX}{os.getpid()}", f"10.{60 + number % 20}.{number}", folder, size)


class Cluster:
    """Nodes 1 to `size`. name: of this cluster alone. net: the first three numbers of its nodes' addresses."""

    def __init__(self, name: str, net: str, folder: Path, size: int) -> None:
        self.size, self.net = size, net
        # Each node's own name leads to its loopback address, as where installers of Debian and Ubuntu leave it.
        self._settings = {"CLUSTER": name, "CLUSTER_NET": net, "CLUSTER_DIR": str(folder), "CLUSTER_OWN_LOOPBACK": "1"}
        self._folder = folder

    def __enter__(self) -> Cluster:
        try:
            self("setup", str(self.size))
        except BaseException:  # Ctrl-C, too
            self("down")
            raise
        return self

    def __exit__(self, *of_error: object) -> None:
        self("down")

    def __call__(self, *words: str) -> str:
        """Run a command of cluster.sh to its end: what it printed."""
        done = subprocess.run([SCRIPT, *words], env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"cluster.sh {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, node: int, command: Sequence[str], log: Path, **variables: str) -> subprocess.Popen[str]:
        """Start a command on a node, in the repository; its stdout and stderr go to the file `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            return subprocess.Popen(
                [SCRIPT, "run", str(node), *command],
                cwd=REPOSITORY,
                env=self.environment(**variables),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def processes(self, *nodes: int) -> list[psutil.Process]:
        """What runs on the nodes (default: all), apart from their sshd."""
        spaces = {self._space(node): node for node in nodes or range(1, self.size + 1)}
        found = []
        for process in psutil.process_iter():
            try:
                inside = os.readlink(f"/proc/{process.pid}/ns/pid") in spaces
                if inside and "sshd" not in process.name() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):  # it has ended meanwhile
                continue
        return found

    def ranks(self, *nodes: int) -> list[psutil.Process]:
        """The ranks on the nodes, whatever started them."""
        found = []
        for process in self.processes(*nodes):
            try:
                if "RANK" in process.environ() and "--run.output_dir" in process.cmdline() and _is_python(process):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def signal(self, number: signal.Signals, *nodes: int) -> None:
        """Send a signal to all that runs on the nodes, as Slurm does to a job's step."""
        for process in self.processes(*nodes):
            process.send_signal(number)

    def left_behind(self, *nodes: int, seconds: float = 10.0) -> list[str]:
        """The command lines of what still runs on the nodes after some seconds; it is ended then."""
        until = time.monotonic() + seconds
        while self.processes(*nodes) and time.monotonic() < until:
            time.sleep(0.2)
        left = []
        for process in self.processes(*nodes):
            with contextlib.suppress(psutil.Error):  # it has ended meanwhile
                left.append(" ".join(process.cmdline()[:8]))
                process.kill()
        return left

    def sent(self, node: int) -> int:
        """Bytes that a node has sent by its cable so far."""
        pid = (self._folder / str(node) / "pid").read_text().strip()
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
        [counts] = [line.split(":")[1].split() for line in lines if line.strip().startswith("eth0:")]
        return int(counts[8])  # the first that is of what was sent

    def hostfile(self, folder: Path, *nodes: int, slots: int = 1) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "hosts"
        file.write_text("".join(f"node-{node} slots={slots}\n" for node in nodes))
        return file

    def environment(self, **variables: str) -> dict[str, str]:
        return environment(**self._settings, DS_ACCELERATOR="cpu", **variables)

    def _space(self, node: int) -> str:
        """The process table of a node, as the kernel names it; "" where the node is off."""
        try:
            pid = (self._folder / str(node) / "pid").read_text().strip()
            return os.readlink(f"/proc/{pid}/ns/pid")
        except OSError:
            return ""


def begun(run: Path) -> bool:
    """Whether a run has logged its first steps."""
    file = run / "metrics.jsonl"
    return file.exists() and len(file.read_text().splitlines()) > 3


def wait_for(happened: Callable[[], bool], seconds: float = 120.0) -> float:
    """Wait for an event: the seconds that it took."""
    began = time.monotonic()
    wait_until(happened, [], seconds)
    return time.monotonic() - began


def _is_python(process: psutil.Process) -> bool:
    return "python" in process.name()
