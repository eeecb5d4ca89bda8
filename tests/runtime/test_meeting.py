"""The start of the ranks: who is missing, who differs, and by which network interface they talk."""

from __future__ import annotations

import datetime
import re
import socket
import subprocess
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from megatinybert.runtime import meeting
from megatinybert.runtime.meeting import Arrival, address_towards, gloo_interface, join, meet, name_ranks, open_store
from tests.helpers.toys import environment, free_port

SOON = datetime.timedelta(seconds=1.0)
START = datetime.timedelta(minutes=2)
RANK_0 = """
import datetime, os, time
from megatinybert.runtime.meeting import Arrival, join
store, _ = join(os.environ, Arrival("node-1", "cpu", "10.0.0.1"), datetime.timedelta(minutes=2))
time.sleep(600)
"""
ON_CPU = Arrival("node-1", "cpu", "10.0.0.1")


def outcomes(there: dict[int, Arrival], size: int, limit: datetime.timedelta) -> list[object]:
    """What `meet` returns or says to each of the ranks that are there."""
    store = torch.distributed.HashStore()

    def of(rank: int) -> object:
        try:
            return meet(store, rank, size, there[rank], limit)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(of, there))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "_SECONDS_TO_READ", 0.0)


def test_all_ranks_learn_who_is_there() -> None:
    there = {0: ON_CPU, 1: ON_CPU, 2: Arrival("node-2", "cpu", "10.0.0.2")}
    assert outcomes(there, 3, datetime.timedelta(minutes=1)) == [list(there.values())] * 3


def test_all_ranks_name_those_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meeting, "_SECONDS_UNTIL_TOLD", 0.0)
    said = outcomes({0: ON_CPU, 2: Arrival("node-2", "cpu", "10.0.0.2")}, 6, SOON)
    assert said[0] == said[1]
    assert "waited 1 s for ranks 1, 3 to 5 of 6, which did not start" in str(said[0])
    assert "Those that did: ranks 0, 2 (node-1, node-2)" in str(said[0])
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and "to start" in told[0]


def test_ranks_on_other_kinds_of_device_are_told_apart() -> None:
    """Of one machine whose driver is broken: gloo would wait for NCCL."""
    said = outcomes({0: Arrival("node-1", "cuda", ""), 1: Arrival("node-2", "cpu", "")}, 2, SOON)
    assert said[0] == said[1]
    assert "rank 1 (node-2) on cpu; rank 0 (node-1) on cuda: all have to be on the same" in str(said[0])


def test_a_rank_0_that_is_not_there_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_SECONDS_UNTIL_TOLD", 0.0)
    port = free_port()
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with pytest.raises(ValueError, match=rf"waited 1 s for rank 0 at 127.0.0.1:{port} .*refused; either"):
        open_store(environment, SOON)
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"waiting for rank 0 at 127.0.0.1:{port}")


def test_a_rank_started_again_waits_for_the_end_of_the_run_it_was_lost_to(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(meeting, "_SECONDS_BETWEEN_RUNS", 0.01)
    port = free_port()
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    def rank_0() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", RANK_0], env=environment(**variables, RANK="0"))

    def rank_1(start: str, limit: datetime.timedelta) -> list[Arrival]:
        return join({**variables, "RANK": "1"}, Arrival("node-2", "cpu", "10.0.0.2", start), limit)[1]

    what = rf"a run that began without this rank 1 \(node-2\) is still at 127.0.0.1:{port} "
    ranks = [rank_0()]
    try:
        assert [each.start for each in rank_1("first", START)] == ["", "first"]
        with pytest.raises(ValueError, match=f"{what}.* after 2 s: stop it, or"):
            rank_1("again", SOON)
        with ThreadPoolExecutor(1) as threads:
            again = threads.submit(rank_1, "again", START)
            time.sleep(0.5)
            assert not again.done()
            ranks[0].kill()
            ranks.append(rank_0())
            assert [each.start for each in again.result()] == ["", "again"]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert len(re.findall(f"waiting: {what}", capfd.readouterr().err)) == 2  # once for each attempt


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        with pytest.raises(ValueError, match=f"port {port} is taken, by another run perhaps.*--master_port"):
            open_store(environment, SOON)


@pytest.mark.parametrize(("rank", "own"), [(0, "127.0.1.1"), (1, "10.0.0.2"), (2, "10.0.0.2")])
def test_the_interface_is_that_towards_the_others(rank: int, own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 is on the machine that MASTER_ADDR is a name of, which leads it to its own loopback."""
    Address = namedtuple("Address", ["address"])
    there = {
        "lo": [Address("127.0.0.1")],
        "wlan0": [Address("192.168.0.7")],
        "ib0": [Address("10.0.0.1" if rank == 0 else own)],
    }
    monkeypatch.setattr(meeting.psutil, "net_if_addrs", lambda: there)
    monkeypatch.setattr(meeting, "address_towards", {"10.0.0.2": "10.0.0.1"}.__getitem__)
    second = Arrival("node-2", "cpu", "10.0.0.2")
    arrivals = [Arrival("node-1", "cpu", "127.0.1.1"), second, second]
    assert arrivals[rank].address == own
    assert gloo_interface(rank, arrivals) == "ib0"


def test_one_machine_needs_no_interface_and_an_unknown_one_is_not_guessed() -> None:
    assert gloo_interface(1, [Arrival("node-1", "cpu", "127.0.0.1")] * 2) is None
    assert gloo_interface(0, [Arrival("node-1", "cpu", ""), Arrival("node-2", "cpu", "")]) is None


def test_the_address_towards_another_machine() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards("") == ""


def test_ranks_are_named_by_ranges() -> None:
    hosts = ["a"] * 8 + ["b"] * 8
    assert name_ranks([3], hosts) == "rank 3 (a)"
    assert name_ranks([0, 1, 4, 5, 6, 7, 8], hosts) == "ranks 0, 1, 4 to 8 (a, b)"
