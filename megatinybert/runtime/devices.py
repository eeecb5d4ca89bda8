"""The device and the threads of a rank."""

from __future__ import annotations

import os
import socket

import torch

from megatinybert.runtime.rendezvous import DEVICES, ranks_here


def choose_accelerator() -> torch.device:
    """Pick this rank's device, and tell DeepSpeed, which must not have been imported before.

    Raises ValueError where this machine has fewer GPUs than ranks.
    """
    if DEVICES in os.environ:
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ[DEVICES]
    if torch.cuda.is_available() and os.environ.get("DS_ACCELERATOR") != "cpu":
        number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if number >= count:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
            raise ValueError(
                f"{socket.gethostname()} has no GPU for its rank {number}, but {count} in all (CUDA_VISIBLE_DEVICES: "
                f"{visible}): start as many ranks (slots of the hostfile) as there are GPUs"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
        return device
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    return torch.device("cpu")


def share_threads() -> None:
    """Give each rank of this machine its share of torch's threads, unless OMP_NUM_THREADS says how many.

    Each would take all cores: small products then wait for one another's time slices, and take many times as long.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(torch.get_num_threads() // (ranks_here(os.environ) or 1), 1))
