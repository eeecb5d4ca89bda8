"""Where the processes of a run meet, and whether there is more than one run where one is meant."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

# Exit code (EX_UNAVAILABLE of sysexits.h) of a rank that has lost another; the same command continues the run.
LOST = 69
# Environment: CUDA_VISIBLE_DEVICES as the person had it, where the DeepSpeed launcher replaces it.
DEVICES = "MEGATINYBERT_DEVICES"
# Of a rank under programs/agent.py that had to stop and would have to again (EX_SOFTWARE); 1 everywhere else.
HALTED = 70
AGENT = "MEGATINYBERT_AGENT"  # environment of ranks: when the agent that starts them again was started, in Unix time
# Below the ports that Linux gives to outgoing connections, so that none takes it before rank 0 does.
_PORTS = range(20_000, 30_000)


def ranks_here(environment: Mapping[str, str]) -> int | None:
    """How many ranks of the run are on this machine, as what started them says: DeepSpeed's launcher, or torchrun."""
    count = environment.get("LOCAL_SIZE") or environment.get("LOCAL_WORLD_SIZE")
    return int(count) if count else None


def free_port() -> int:
    """A port that nobody listens on, drawn at random, so that runs that start together take different ones.

    Raises ValueError where none is found.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ValueError(f"no free port found from {_PORTS.start} to {_PORTS.stop}: give --master_port")


def lone_task(environment: Mapping[str, str]) -> str:
    """Why a run that starts here would be one of several alike, where Slurm or MPI has started several; else ""."""
    # In the script of an sbatch job SLURM_NTASKS is set too, but there is one such process, with SLURM_PROCID 0.
    names = ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"]
    if environment.get("SLURM_PROCID", "0") != "0":
        names.append("SLURM_NTASKS")
    for name in names:
        if int(environment.get(name, "1")) > 1:
            return (
                f"{name} is {environment[name]}, but RANK is not set: each task would take itself for the whole run. "
                "Start one deepspeed launcher on each machine, with --no_ssh, and let it start the processes "
                "(docs/cluster.md)"
            )
    return ""
