"""The little cluster itself: what it lacks is told, nodes are machines of their own, and nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cluster import PREFIX, SCRIPT, Cluster, remove_orphans

pytestmark = pytest.mark.multinode


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_nodes_log_in_to_one_another_until_a_cable_is_cut(cluster: Cluster) -> None:
    login = ["run", "1", "ssh", "-o", "ConnectTimeout=2", "node-2", "hostname"]
    assert cluster(*login) == "node-2\n"
    cluster("cut", "2")
    try:
        with pytest.raises(AssertionError, match="timed out"):
            cluster(*login)
    finally:
        cluster("join", "2")
    assert cluster.processes() == []


def test_what_a_killed_test_left_is_removed(cluster: Cluster, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = Cluster(f"{PREFIX}{ended.pid}", "10.59.1", tmp_path / "orphan", size=1)
    orphan("setup", "1")
    sleeping = orphan.start(1, ["sleep", "1000"], tmp_path / "log")
    assert f"{PREFIX}{ended.pid}-1" in namespaces()
    remove_orphans()
    assert f"{PREFIX}{ended.pid}-" not in namespaces()
    assert sleeping.wait(10) != 0
    assert cluster("run", "1", "hostname") == "node-1\n"  # that of the living stays


def test_what_is_missing_is_named(cluster: Cluster) -> None:
    nobody = ["setpriv", "--reuid", "65534", "bash", "-s", "missing"]  # who may not be able to read the repository
    done = subprocess.run(nobody, input=Path(SCRIPT).read_text(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "the rights of root\n"), done.stderr
    assert subprocess.run([SCRIPT, "missing"], capture_output=True, text=True).stdout == ""
