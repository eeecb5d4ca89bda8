"""The ranks of a run find each other, in a store that the first of them keeps, before their process group is made.

torch's own start names nobody who is missing, and where a machine's own name leads to its loopback address (127.0.1.1,
as Debian and Ubuntu write it into /etc/hosts), gloo waits for a connection that never comes.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]
from torch.distributed import DistNetworkError, DistStoreError, PrefixStore, Store, TCPStore

_PREFIX = "megatinybert"  # of our keys, beside those of torch
_ARRIVALS = "arrivals"  # the key of what rank 0 tells all
_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_OF_AN_ATTEMPT = 5.0
_SECONDS_UNTIL_TOLD = 30.0
_SECONDS_TO_READ = 2.0  # for the others, before rank 0 ends and its store with it
_SECONDS_BETWEEN_RUNS = 1.0
_LIMITS_OF_ANOTHER_RUN = 2  # times that of a start, as it may itself be waiting in one


class StoreEnded(ValueError):
    """The store was there, but is no more."""


class Arrival(NamedTuple):
    """A rank. device: "cpu" or "cuda". address: of its machine, as seen from MASTER_ADDR; "" where there is no way.
    start: other than that of any earlier process of this rank.
    """

    host: str
    device: str
    address: str
    start: str = ""


def join(environment: Mapping[str, str], own: Arrival, limit: datetime.timedelta) -> tuple[Store, list[Arrival]]:
    """The store (`open_store`), and each of the ranks (`meet`) once all have come to it.

    A rank that is started again, as after its machine has failed, may find there the run that it is lost to, which does
    not know yet; it waits until that has ended. Raises ValueError where that does not end, or as those two do.
    """
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    longest, began, told = _LIMITS_OF_ANOTHER_RUN * limit.total_seconds(), time.monotonic(), False
    while True:
        try:
            store = open_store(environment, limit)
            arrivals = meet(store, rank, size, own, limit)
        except StoreEnded:
            if not told:
                raise
            continue  # what was waited for
        if own in arrivals or _is_of_torchrun(environment):  # whose store outlives the starts of a rank
            return store, arrivals
        what = f"a run that began without this rank {rank} ({own.host}) is still at {_master(environment)}"
        if time.monotonic() - began > longest:
            raise ValueError(f"{what} after {longest:,.0f} s: stop it, or give the launcher another --master_port")
        if not told:
            told = True
            print(f"waiting: {what}, and ends once it takes the one before for lost", file=sys.stderr, flush=True)
        time.sleep(_SECONDS_BETWEEN_RUNS)


def open_store(environment: Mapping[str, str], limit: datetime.timedelta) -> Store:
    """The store at MASTER_ADDR and MASTER_PORT, which rank 0 keeps, or torchrun. limit: to wait for it.

    Raises ValueError where it cannot be reached, or its port is taken.
    """
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    keeps = rank == 0 and not _is_of_torchrun(environment)
    if not keeps:
        _await_port(address, port, limit)
    # multi_tenant: the process group is to open it once more.
    try:
        store = TCPStore(address, port, size, keeps, limit, wait_for_workers=False, multi_tenant=True)
    except DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            text = f"port {port} is taken, by another run perhaps: give the launcher --master_port"
            raise ValueError(text) from error
        raise StoreEnded(f"rank 0 at {_master(environment)} cannot be reached: {error}") from error
    return PrefixStore(_PREFIX, store)


def meet(store: Store, rank: int, size: int, own: Arrival, limit: datetime.timedelta) -> list[Arrival]:
    """Wait until all ranks are there: each of them, by rank.

    Raises ValueError on all where some are missing after `limit`, or where they are on different kinds of device.
    """
    try:
        store.set(f"arrival/{rank}", json.dumps(own))
        if rank == 0:
            _tell_all(store, size, limit)
        while not store.check([_ARRIVALS]):  # not `wait`, which Ctrl-C would have to wait for
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        told = json.loads(store.get(_ARRIVALS))
    except (DistNetworkError, DistStoreError) as error:
        raise StoreEnded("rank 0 was there, but ended before all ranks had come: what it said tells why") from error
    there = {number: Arrival(*arrival) for number, arrival in enumerate(told) if arrival}
    problem = _problem(there, size, limit)
    if problem and rank == 0:
        time.sleep(_SECONDS_TO_READ)
    if problem:
        raise ValueError(problem)
    return list(there.values())


def _is_of_torchrun(environment: Mapping[str, str]) -> bool:
    """Whether torchrun keeps the store, and not rank 0."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _master(environment: Mapping[str, str]) -> str:
    return f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']} (MASTER_ADDR, MASTER_PORT)"


def _await_port(address: str, port: int, limit: datetime.timedelta) -> None:
    """Wait until somebody listens there; the store's own waiting ends with a page of C++."""
    began, told = time.monotonic(), False
    while True:
        try:
            socket.create_connection((address, port), _SECONDS_OF_AN_ATTEMPT).close()
            return
        except OSError as error:
            waited, reason = time.monotonic() - began, error
        where = f"rank 0 at {address}:{port} (MASTER_ADDR, MASTER_PORT)"
        if waited > limit.total_seconds():
            raise ValueError(
                f"waited {limit.total_seconds():,.0f} s for {where}: {reason}; either it did not start, and its "
                "machine says why, or this machine cannot reach it there"
            )
        if waited > _SECONDS_UNTIL_TOLD and not told:
            told = True
            print(f"waiting for {where} on {socket.gethostname()}: {reason}", file=sys.stderr)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _tell_all(store: Store, size: int, limit: datetime.timedelta) -> None:
    """Rank 0 waits for the others, and tells them who has come: null for each that has not."""
    missing, began, told = list(range(size)), time.monotonic(), False
    while missing := [rank for rank in missing if not store.check([f"arrival/{rank}"])]:
        waited = time.monotonic() - began
        if waited > limit.total_seconds():
            break
        if waited > _SECONDS_UNTIL_TOLD and not told:
            told = True
            print(f"waiting for {_numbers(missing)} of {size} to start", file=sys.stderr)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    arrivals = [None if rank in missing else json.loads(store.get(f"arrival/{rank}")) for rank in range(size)]
    store.set(_ARRIVALS, json.dumps(arrivals))


def _problem(there: Mapping[int, Arrival], size: int, limit: datetime.timedelta) -> str | None:
    """Why the ranks that are there cannot begin."""
    hosts = {rank: arrival.host for rank, arrival in there.items()}
    missing = [rank for rank in range(size) if rank not in there]
    if missing:
        return (
            f"waited {limit.total_seconds():,.0f} s for {_numbers(missing)} of {size}, which did not start: what "
            f"started them says why. Those that did: {name_ranks(there, hosts)}"
        )
    devices = {arrival.device for arrival in there.values()}
    if len(devices) > 1:
        of_each = (
            f"{name_ranks([r for r, arrival in there.items() if arrival.device == device], hosts)} on {device}"
            for device in sorted(devices)
        )
        return f"{'; '.join(of_each)}: all have to be on the same; where nvidia-smi finds no GPU, its machine says why"
    return None


def gloo_interface(rank: int, arrivals: Sequence[Arrival]) -> str | None:
    """The network interface by which this rank's machine reaches the others; None where there is one machine alone.

    gloo would take the one that the machine's own name leads to.
    """
    own = arrivals[rank]
    if len({(each.host, each.address) for each in arrivals}) == 1:
        return None
    address = own.address
    if _is_loopback(address):  # the machine that MASTER_ADDR is a name of
        others = (each.address for each in arrivals if not _is_loopback(each.address))
        address = address_towards(next(others, ""))
    for name, addresses in psutil.net_if_addrs().items():
        if not _is_loopback(address) and address in (each.address for each in addresses):
            return name
    return None


def address_towards(host: str) -> str:
    """The address that packets from here to `host` have; "" where there is no way. Nothing is sent."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def own_arrival(device: str) -> Arrival:
    return Arrival(socket.gethostname(), device, address_towards(os.environ["MASTER_ADDR"]), uuid.uuid4().hex)


def name_ranks(ranks: Iterable[int], hosts: Mapping[int, str] | Sequence[str]) -> str:
    """Such as "rank 1 (node-1)" or "ranks 8 to 15 (node-2)". ranks: ascending. hosts: by rank."""
    ranks = list(ranks)
    where = ", ".join(dict.fromkeys(hosts[rank] for rank in ranks))
    return f"{_numbers(ranks)} ({where})"


def _numbers(ranks: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    names = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(names)}"


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address in ("", "::1")
