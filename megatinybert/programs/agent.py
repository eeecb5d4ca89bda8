"""Starts the ranks of a run on this machine, and starts them again after a fault, by torch's elastic agent.

    python -m megatinybert.programs.agent RESTARTS RANKS WORK SCRIPT [OPTION ...]

A process between the front end (launcher.py) and the ranks. These are forked from a server that has imported what they
need, so that a restart takes no time for that. Where this process is killed, the server ends, and each rank with it
gets SIGINT, so that it saves and stops.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

from megatinybert.runtime.counts import counted
from megatinybert.runtime.output import outlive_readers
from megatinybert.runtime.rendezvous import AGENT

_PR_SET_PDEATHSIG = 1  # of prctl


def main() -> None:
    restarts, asked, work, *command = sys.argv[1:]
    outlive_readers()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # when the front end is killed
    os.environ[AGENT] = str(time.time())
    # Ranks that start again meet in a new store, of rank 0; the agent's would hold what was said before the fault.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    try:
        ranks = count_ranks(int(asked))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    os.environ["LOCAL_SIZE"] = str(ranks)
    multiprocessing.set_forkserver_preload(preloaded(work))
    forkserver.ensure_running()  # so that it imports while this process does

    from megatinybert.programs.restarts import run

    sys.exit(run(command, ranks, int(restarts)))


def count_ranks(asked: int) -> int:
    """As many as are asked for; of 0 one for each GPU, or, as DeepSpeed counts, for each NUMA node with cores.

    Without a GPU it says so to DeepSpeed. Raises ValueError where there are fewer GPUs than asked for.
    """
    gpus = 0
    if os.environ.get("DS_ACCELERATOR") != "cpu":
        import torch

        gpus = torch.cuda.device_count()
    if asked > gpus > 0:
        raise ValueError(f"--num_accelerators {asked}, and this machine has {counted(gpus, 'GPU')}")
    if not gpus:
        os.environ["DS_ACCELERATOR"] = "cpu"
    nodes = Path("/sys/devices/system/node").glob("node[0-9]*/cpulist")
    return asked or gpus or int(os.environ.get("LOCAL_SIZE", "0")) or max(sum(map(_has_cores, nodes)), 1)


def _has_cores(cpulist: Path) -> bool:
    return bool(cpulist.read_text(encoding="utf-8").strip())


def preloaded(work: str) -> list[str]:
    """The modules that ranks are forked with. work: where the function that they run is, as an import path.

    Not DeepSpeed where there are GPUs, for it looks at them as it is imported, and CUDA does not survive a fork.
    """
    # The last one, which DeepSpeed imports as it builds an engine, takes as long as the rest.
    of_deepspeed = ["deepspeed", work.rpartition(".")[0], "deepspeed.runtime.zero.muon.muon_optimizer"]
    return ["torch", "transformers", *(of_deepspeed if os.environ.get("DS_ACCELERATOR") == "cpu" else [])]


if __name__ == "__main__":
    main()
