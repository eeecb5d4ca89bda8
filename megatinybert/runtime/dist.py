"""The ranks of a run: devices, start-up, collectives outside DeepSpeed."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed
from torch import Tensor
from tqdm import tqdm

from megatinybert.runtime.devices import choose_accelerator, share_threads
from megatinybert.runtime.findings import refusal
from megatinybert.runtime.meeting import gloo_interface, join, own_arrival
from megatinybert.runtime.rendezvous import LOST, free_port, lone_task
from megatinybert.runtime.watch import Watch

# A collective that has waited this long has lost a peer. DeepSpeed's own default would wait for 30 minutes.
TIMEOUT = datetime.timedelta(minutes=10)
_SECONDS_BETWEEN_MEETINGS = 1.0

Result = TypeVar("Result")


@dataclass(frozen=True)
class World:
    """This process among its peers. watch, store: of several ranks; in the store they have met."""

    rank: int
    size: int
    device: torch.device
    watch: Watch | None = field(default=None, compare=False, repr=False)
    store: torch.distributed.Store | None = field(default=None, compare=False, repr=False)
    machines: tuple[str, ...] = ()  # names, of several

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def say(self, text: str) -> None:
        """Tell the person who started the run, once and on stderr."""
        if self.is_main:
            tqdm.write(text, file=sys.stderr)  # which lets no bar stand in its line

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over ranks of a tensor of one shape; NaN or infinity on any rank reaches all."""
        return self.sum(tensor) / self.size

    def sum(self, tensor: Tensor) -> Tensor:
        if self.size > 1:
            tensor = tensor.clone()
            torch.distributed.all_reduce(tensor)
        return tensor

    def broadcast(self, tensor: Tensor) -> Tensor:
        """Rank 0's tensor, on its ranks' device; others give one of its shape and dtype, which it is written to."""
        if self.size > 1:
            torch.distributed.broadcast(tensor, src=0)
        return tensor

    def exchange(self, rows: Tensor, counts: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Send rows to the ranks of the process group: (the rows that have come, how many of each rank).

        rows: (sum of counts, ...), first those for rank 0; of all ranks alike but for their number. All call it.
        """
        sent = torch.tensor(counts, device=self.device)
        coming = torch.empty_like(sent)
        torch.distributed.all_to_all_single(coming, sent)
        came: list[int] = coming.tolist()
        received = rows.new_empty(sum(came), *rows.shape[1:])
        torch.distributed.all_to_all_single(received, rows, came, list(counts))
        return received, came

    def count(self, condition: bool) -> int:
        """On how many ranks the condition holds."""
        return int(self.sum(torch.tensor(float(condition), device=self.device)))

    def begins_micro_batch(self) -> None:
        """For the others to know how far this rank is."""
        if self.watch:
            self.watch.micro_batches += 1

    def is_in_training(self, value: bool) -> None:
        """Whether a rank without a sign of life is lost soon (`lose_after`); else, as at start and in saves, after ten
        times as long.
        """
        if self.watch:
            self.watch.short = value

    def lose_after(self, seconds: float) -> None:
        """How long a rank in training may give no sign of life."""
        if self.watch:
            self.watch.lose_after(seconds)

    def barrier(self) -> None:
        if self.size > 1:
            torch.distributed.barrier()

    def gather(self, own: Result) -> list[Result]:
        """What each rank gives, which must pickle, by rank. Every rank calls it."""
        told = [own] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(told, own)
        return told

    def refuse(self, problems: Sequence[str]) -> None:
        """Raise ValueError on all ranks where any has problems, telling those of all. Every rank calls it.

        A problem that rank 0 does not have says which ranks do.
        """
        ranks: dict[str, list[int]] = {}
        for rank, texts in enumerate(self.gather(list(problems))):
            for text in texts:
                ranks.setdefault(text, []).append(rank)
        if ranks:
            raise _raised_by_all(ValueError(refusal(_whose(numbers) + text for text, numbers in ranks.items())))

    def together(self, work: Callable[[], Result]) -> Result:
        """Do `work`, which has no collective, on every rank, which all call it.

        Raises ValueError on all of them, as `refuse` does, where it raises ValueError or OSError on any.
        """
        if self.size == 1:
            return work()
        problems, result = [], None
        try:
            result = work()
        except (ValueError, OSError) as error:
            problems = [str(error)]
        self.refuse(problems)
        return cast(Result, result)

    def first(self, work: Callable[[], Result]) -> Result:
        """Do `work` on rank 0 alone and give its result, or raise what it raised, on all ranks. Both must pickle.

        It may take longer than a collective waits: until it is done, all ranks meet every second.
        """
        if self.size == 1:
            return work()
        outcome: Future[Result] = Future()
        if self.is_main:
            # A daemon, so that a rank that loses its peers can end.
            threading.Thread(target=_settle, args=(outcome, work), daemon=True).start()
        while not self.count(outcome.done()):
            wait([outcome], _SECONDS_BETWEEN_MEETINGS)
        told: list[Any] = [None]
        if self.is_main:
            error = outcome.exception()
            told = [(error, None if error else outcome.result())]
        torch.distributed.broadcast_object_list(told, src=0, device=self.device)
        error, result = told[0]
        if error is not None:
            raise _raised_by_all(error)
        return result


def start() -> World:
    """Join the process group that the launcher describes, or make one of this process alone.

    Raises ValueError where some other launcher started several processes, each of which would take itself for the whole
    run, where the port is taken, and where not all ranks come (`meeting.join`).
    """
    if "RANK" in os.environ:
        _complete(os.environ)
    device = choose_accelerator()
    share_threads()
    if "RANK" not in os.environ:
        alone = lone_task(os.environ)
        if alone:
            raise ValueError(alone)
        os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}

    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import groups, logger

    logger.setLevel(logging.WARNING)
    # DeepSpeed calls collectives by names that torch wants replaced; nobody who runs this can.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed.c10d_logger")
    if device.type == "cpu":
        # DeepSpeed would compile a shared-memory collective here, which takes a C++ compiler and a minute; gloo serves.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if device.type == "cuda" else "gloo"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store, arrivals = join(os.environ, own_arrival(device.type), TIMEOUT)
    interface = gloo_interface(rank, arrivals)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    stuck = threading.Timer(TIMEOUT.total_seconds(), _end_unconnected)
    stuck.daemon = True
    stuck.start()
    deepspeed.init_distributed(dist_backend=backend, timeout=TIMEOUT, verbose=False)
    stuck.cancel()
    # ZeRO's collectives run in a group that DeepSpeed makes without the timeout above, unless it finds one here.
    groups._WORLD_GROUP = torch.distributed.new_group(timeout=TIMEOUT)
    hosts = [arrival.host for arrival in arrivals]
    machines = tuple(dict.fromkeys(hosts))
    watch = Watch(store, rank, hosts) if size > 1 else None
    return World(rank, size, device, watch, store, machines if len(machines) > 1 else ())


def is_of_lost_peer(error: BaseException) -> bool:
    """Whether a collective raised it because another rank is gone, or does not answer."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))


def _end_unconnected() -> None:
    """gloo's own waiting for its first connections has no end."""
    text = (
        f"error on rank {os.environ['RANK']} ({socket.gethostname()}): the ranks have met, but could not connect to "
        "one another: let GLOO_SOCKET_IFNAME (with GPUs NCCL_SOCKET_IFNAME) name the network interface that they share"
    )
    print(text, file=sys.stderr, flush=True)
    os._exit(LOST)


def _complete(environment: MutableMapping[str, str]) -> None:
    """Operators of Kubernetes give one rank to a pod, and do not say which of its machine's it is."""
    if "LOCAL_RANK" not in environment:
        environment.update({"LOCAL_RANK": "0", "LOCAL_SIZE": "1"})


def check_shared(folder: Path, world: World) -> None:
    """Make `folder`, and raise ValueError on all ranks where some rank does not see the same one.

    Every rank writes its part of a checkpoint there, and rank 0 publishes the whole.
    """
    if world.size == 1:
        folder.mkdir(parents=True, exist_ok=True)
        return
    probe = folder / ".shared-by-all-ranks"
    if world.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    world.barrier()
    seen = folder.is_dir() and probe.name in os.listdir(folder)
    blind = world.size - world.count(seen)
    if world.is_main:
        probe.unlink()
    if blind:
        text = (
            f"--run.output_dir {folder} is not the same folder for {blind} of {world.size} ranks: name one on a file "
            "system that all machines share"
        )
        raise _raised_by_all(ValueError(text))


def is_raised_by_all(error: BaseException) -> bool:
    """Whether every rank raises the same, so that one of them telling it is enough."""
    return getattr(error, "raised_by_all_ranks", False)


def _raised_by_all(error: BaseException) -> BaseException:
    error.raised_by_all_ranks = True  # type: ignore[attr-defined]
    return error


def _whose(ranks: list[int]) -> str:
    """Which ranks a failure is of, where rank 0 does not share it."""
    if ranks[0] == 0:
        return ""
    return f"on rank {ranks[0]}{f' and {len(ranks) - 1} more' if ranks[1:] else ''}: "


def _settle(outcome: Future[Result], work: Callable[[], Result]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:
        outcome.set_exception(error)


def stop() -> None:
    """Leave the process group."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
