"""A free port, and several tasks of which each would be a whole run."""

from __future__ import annotations

import socket

import pytest

from megatinybert.runtime import rendezvous
from megatinybert.runtime.rendezvous import free_port, lone_task


def test_a_taken_port_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(rendezvous.random.SystemRandom, "sample", lambda _, ports, count: [port, 29_999])
        assert free_port() == 29_999


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, ""),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, ""),  # the script of an sbatch job
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "SLURM_NTASKS"),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, "SLURM_STEP_NUM_TASKS"),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, ""),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_SIZE"),
    ],
)
def test_a_whole_run_for_each_task_is_refused(environment: dict[str, str], named: str) -> None:
    assert lone_task(environment).split(" is ")[0] == named
