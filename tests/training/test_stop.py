"""Requests to stop: signals, the file STOP and the time limit, agreed on by all ranks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from torch import Tensor

from megatinybert.runtime.dist import World
from megatinybert.training.stop import Requests, before_a_step, interrupted_as, listening

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP as it is in a terminal, also where the tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_a_request_inside_alone(number: signal.Signals, hangup: None, tmp_path: Path) -> None:
    before = signal.getsignal(number)
    with listening(tmp_path, None, ALONE) as requests:
        assert not requests.agreed()
        os.kill(os.getpid(), number)
        assert requests.agreed()
    assert signal.getsignal(number) is before


def test_under_nohup_a_closed_terminal_is_no_request(hangup: None, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with listening(tmp_path, None, ALONE) as requests:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not requests.agreed()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_second_ctrl_c_ends_at_once_but_one_that_is_passed_on_twice_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    requests = Requests(tmp_path, None, ALONE)
    for now[0] in (100.0, 100.3):
        requests.on_signal(signal.SIGINT, None)
    requests.on_signal(signal.SIGTERM, None)
    assert requests.agreed() and not codes
    assert capfd.readouterr().err.count("Ctrl-C once more ends at once") == 1
    now[0] = 103.0
    requests.on_signal(signal.SIGINT, None)
    assert codes == [130]


def test_the_file_is_a_request_until_it_is_honoured(tmp_path: Path) -> None:
    requests = Requests(tmp_path, None, ALONE)
    assert not requests.agreed()
    (tmp_path / "STOP").touch()
    assert requests.agreed()
    requests.forget()
    assert not requests.agreed() and not (tmp_path / "STOP").exists()


class Two(World):
    """Rank 0 of two: the other asks in its second step."""

    def sum(self, tensor: Tensor) -> Tensor:
        calls.append(float(tensor))
        return tensor + (len(calls) >= 2)


calls: list[float] = []


def test_what_another_rank_asks_counts_one_step_later(tmp_path: Path) -> None:
    calls.clear()
    requests = Requests(tmp_path, None, Two(0, 2, torch.device("cpu")))
    assert [requests.agreed() for _ in range(4)] == [False, False, True, True]
    assert calls == [0, 0, 0, 0]


def test_a_run_ends_before_its_time_limit_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 10 seconds, and a checkpoint of 30 after the third."""
    began = psutil.Process().create_time()
    now = [began + 20]
    monkeypatch.setattr("time.time", lambda: now[0])
    requests, steps = Requests(tmp_path, 200, ALONE), 0
    while not requests.agreed():
        steps += 1
        now[0] += 40 if steps == 3 else 10
    assert 200 - 2 * 40 - 10 < now[0] - began < 200 - 40  # the longest step with all it did still fits in twice
    later = Requests(tmp_path, 200, World(1, 1, torch.device("cpu")))
    assert not later.agreed()  # rank 0 keeps the time


@pytest.mark.parametrize(
    ("done", "saved", "told"),
    [
        (0, False, "before step 1; nothing of it was saved: the same command begins it anew"),
        (0, True, "before step 1; the same command continues from step 0"),
        (1200, True, "before step 1,201; the same command continues from step 1,200"),
    ],
)
def test_what_is_interrupted_before_a_step_says_what_is_left_of_it(done: int, saved: bool, told: str) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, before_a_step("stage two", done, lambda: saved):
        signal.default_int_handler(signal.SIGINT, None)
    assert str(caught.value) == f"stage two: stopped {told}"
    with pytest.raises(KeyboardInterrupt, match="^inner$"), interrupted_as("outer"), interrupted_as("inner"):
        raise KeyboardInterrupt


def test_the_cost_of_asking(tmp_path: Path) -> None:
    requests = Requests(tmp_path, 1e9, ALONE)
    began = time.process_time()
    for _ in range(1000):
        requests.agreed()
    assert time.process_time() - began < 1  # seconds: under a millisecond a step
