"""A rank or a node that is lost: every node ends within a bounded time and says who it was; the run goes on with fewer.

What a test prints, `make test-multinode` shows; docs/cluster.md has it.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from subprocess import Popen

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.runtime.rendezvous import LOST
from megatinybert.runtime.watch import INTERVAL
from tests.helpers.cluster import GENERAL, Cluster, begun, options, wait_for
from tests.helpers.processes import exit_codes, wait_until
from tests.helpers.toys import metrics

pytestmark = pytest.mark.multinode

ENDLESS = {"run.max_steps": 100_000, "run.held_out_interval": 1000, "run.save_interval": 1000}
# In a measurement or save, which is every few seconds else, a rank is waited for ten times as long.
NO_PAUSE = {"run.held_out_interval": 100_000, "run.save_interval": 100_000}

BEGINS = 480.0  # seconds until a run has begun at the latest, on a machine that is busy


def by_pdsh(cluster: Cluster, folder: Path, words: list[str], *nodes: int) -> Popen[str]:
    """A run on the nodes, started on the first of them."""
    hosts = cluster.hostfile(folder, *nodes)
    return cluster.start(nodes[0], ["sh", GENERAL, *words], folder / "log", HOSTFILE=str(hosts))


def rank_on(cluster: Cluster, node: int) -> psutil.Process:
    [rank] = cluster.ranks(node)
    return rank


def test_a_killed_rank_ends_all_and_one_node_goes_on(cluster: Cluster, toy_inputs: Path, tmp_path: Path) -> None:
    short = {"run.max_steps": 120, "run.held_out_interval": 1000, "run.save_interval": 20}
    words = options(toy_inputs, tmp_path, **short)
    run = by_pdsh(cluster, tmp_path, words, 1, 2)
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000020"
    wait_until(checkpoint.exists, [run], BEGINS)
    rank_on(cluster, 2).kill()
    began = time.monotonic()
    [code] = exit_codes([run], seconds=30)
    print(f"killed rank, by pdsh: all ended after {time.monotonic() - began:.1f} s, exit code {code}")
    said = (tmp_path / "log").read_text()
    assert code != 0 and "rank 1 (node-2) has ended or does not answer" in said, said
    assert cluster.left_behind(seconds=2) == []

    run = by_pdsh(cluster, tmp_path, words, 1)
    assert exit_codes([run], BEGINS) == [0], (tmp_path / "log").read_text()
    steps = [int(row["step"]) for row in metrics(tmp_path / "run")]
    assert steps == list(range(121))
    assert cluster.left_behind() == []


def test_a_cut_cable_and_a_frozen_rank_end_all_nodes(cluster: Cluster, toy_inputs: Path, tmp_path: Path) -> None:
    """Two runs at once, as both wait for a minute."""
    folders = {"cut cable": tmp_path / "cut", "frozen rank": tmp_path / "frozen"}
    cut, frozen = (
        by_pdsh(cluster, folder, options(toy_inputs, folder, **{**ENDLESS, **NO_PAUSE}), *nodes)
        for folder, nodes in zip(folders.values(), ((1, 2), (3, 4)), strict=True)
    )
    wait_until(lambda: all(begun(folder / "run") for folder in folders.values()), [cut, frozen], BEGINS)
    time.sleep(4 * INTERVAL)  # until all have said that they are in training; at start ten times as long counts
    try:
        cluster("cut", "2")
        rank_on(cluster, 4).send_signal(signal.SIGSTOP)
        began, taken = time.monotonic(), dict[str, float]()

        def ended() -> bool:
            there = {
                "cut cable, node-1": bool(cluster.ranks(1)),
                "cut cable, node-2, which is alone": bool(cluster.processes(2)),
                "cut cable, pdsh on node-1": cut.poll() is None,
                "frozen rank, node-3": bool(cluster.ranks(3)),
                "frozen rank, node-4, where it is": bool(cluster.ranks(4)),
                "frozen rank, pdsh on node-3": frozen.poll() is None,
            }
            taken.update({what: time.monotonic() - began for what, still in there.items() if still})
            return not any(there.values())

        wait_for(ended, seconds=180)
    finally:
        cluster("join", "2")
    for what, seconds in taken.items():
        print(f"{what}: ended after {seconds:.0f} s")
    codes = [process.wait() for process in (cut, frozen)]
    print(f"exit codes: cut cable {codes[0]}, frozen rank {codes[1]}")
    assert codes == [LOST, LOST]
    said = (folders["cut cable"] / "log").read_text()
    assert "rank 1 (node-2) has ended or does not answer" in said, said
    said = (folders["frozen rank"] / "log").read_text()
    assert "rank 1 (node-4) has ended or does not answer" in said, said
    assert max(taken.values()) < 150
    assert cluster.left_behind() == []


def test_a_node_without_power_ends_the_others(cluster: Cluster, toy_inputs: Path, tmp_path: Path) -> None:
    run = by_pdsh(cluster, tmp_path, options(toy_inputs, tmp_path, **ENDLESS), 1, 3)
    wait_until(lambda: begun(tmp_path / "run"), [run], BEGINS)
    try:
        cluster("off", "3")
        began = time.monotonic()
        [code] = exit_codes([run], seconds=30)
    finally:
        cluster("setup", str(cluster.size))
    print(f"node switched off, by pdsh: all ended after {time.monotonic() - began:.1f} s, exit code {code}")
    said = (tmp_path / "log").read_text()
    assert code != 0 and "rank 1 (node-3) has ended or does not answer" in said, said
    assert cluster.left_behind() == []


def test_sigterm_over_pdsh_saves_and_leaves_other_runs_alone(
    cluster: Cluster, toy_inputs: Path, tmp_path: Path
) -> None:
    # DeepSpeed would end this too: by its command line it is a launcher of another run.
    looks_alike = 'exec -a "python -u -m deepspeed.launcher.launch --master_port=1 " sleep 1000'
    other = cluster.start(2, ["bash", "-c", looks_alike], tmp_path / "other")
    run = by_pdsh(cluster, tmp_path, options(toy_inputs, tmp_path, **ENDLESS), 1, 2)
    wait_until(lambda: begun(tmp_path / "run"), [run], BEGINS)
    [front] = [process for process in cluster.processes(1) if process.cmdline()[1:2] == [GENERAL]]
    front.terminate()
    began = time.monotonic()
    codes = exit_codes([run], seconds=60)
    print(f"SIGTERM to the front of pdsh: all ended after {time.monotonic() - began:.1f} s, exit code {codes[0]}")
    said = (tmp_path / "log").read_text()
    assert codes == [75], said
    assert other.poll() is None
    assert list((tmp_path / "run" / "checkpoints").glob("step-*")), said
    for process in cluster.processes(2):
        if "sleep" in process.name() or "sleep" in " ".join(process.cmdline()):
            process.kill()
    other.wait()
    assert cluster.left_behind() == []
