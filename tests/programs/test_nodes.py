"""Two launchers of one machine, where no little cluster can be had (tests/cluster): one run, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from safetensors.torch import load_file

from tests.helpers.processes import exit_codes, left_behind, start, wait_until
from tests.helpers.toys import free_port, metrics, recipe

pytestmark = pytest.mark.slow


def start_nodes(folder: Path, inputs: Path, **overrides: object) -> list[subprocess.Popen[str]]:
    """The same command on both nodes, apart from the number of the node; one rank each."""
    hostfile = folder / "hosts"
    hostfile.write_text("127.0.0.1 slots=1\nlocalhost slots=1\n")
    options = recipe(inputs, **{"run.output_dir": folder / "run", **overrides})
    launcher = ["deepspeed", "--hostfile", str(hostfile), "--no_ssh", "--master_addr", "127.0.0.1"]
    launcher += ["--master_port", str(free_port())]
    return [
        start([*launcher, "--node_rank", str(node), "launch/general.sh", *options], folder / f"node-{node}.log")
        for node in (0, 1)
    ]


def logs(folder: Path) -> str:
    return "\n".join((folder / f"node-{node}.log").read_text() for node in (0, 1))


def kill_left_behind(folder: Path) -> list[psutil.Process]:
    """End what a failed test left; the list of it should be empty."""
    found = left_behind(folder)
    for process in found:
        process.kill()
    return found


def test_two_nodes_train_one_run(toy_inputs: Path, tmp_path: Path) -> None:
    nodes = start_nodes(tmp_path, toy_inputs)
    assert exit_codes(nodes) == [0, 0], logs(tmp_path)
    assert kill_left_behind(tmp_path) == []
    assert "2 ranks" in (tmp_path / "node-0.log").read_text()
    assert " ranks on " not in (tmp_path / "node-1.log").read_text()  # one run, told of once
    assert [row["step"] for row in metrics(tmp_path / "run")] == [0, 1, 2, 3, 4]
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000004" / "student"
    assert len(list(checkpoint.glob("*optim_states.pt"))) == 2
    assert load_file(tmp_path / "run" / "student" / "model.safetensors")


def test_a_killed_rank_ends_both_launchers(toy_inputs: Path, tmp_path: Path) -> None:
    nodes = start_nodes(tmp_path, toy_inputs, **{"run.max_steps": 100_000, "run.held_out_interval": 1000})
    metrics_file = tmp_path / "run" / "metrics.jsonl"
    wait_until(lambda: metrics_file.exists() and len(metrics_file.read_text().splitlines()) > 3, nodes)
    rank = max(psutil.Process(nodes[1].pid).children(recursive=True), key=lambda process: process.create_time())
    assert "--local_rank=0" in rank.cmdline()
    os.kill(rank.pid, signal.SIGKILL)
    codes = exit_codes(nodes, seconds=30)
    assert all(code != 0 for code in codes), logs(tmp_path)
    assert kill_left_behind(tmp_path) == []
