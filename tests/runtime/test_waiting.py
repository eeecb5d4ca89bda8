"""How long a process waited for a core: of one that shares it with another, and where nothing tells."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.runtime import waiting
from tests.helpers.toys import REPOSITORY

# Two processes that compute on one core; the first says what share of its time it waited.
_BESIDE = """
import os, subprocess, sys, time
from megatinybert.runtime.waiting import Waiting
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
time.sleep(0.2)
waiting, end = Waiting(), time.perf_counter() + 0.6
while time.perf_counter() < end: pass
print(waiting.share())
other.kill()
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_a_process_beside_another_on_one_core_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BESIDE], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    share = float(done.stdout)
    assert 0.25 < share < 1
    (sentence,) = waiting.on_times(share)
    assert f"waited for one {100 * share:.0f} % of the time: do not rely on the times" in sentence


def test_what_was_before_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "schedstat").write_text(text)

    monkeypatch.setattr(waiting, "_TASKS", tmp_path)
    write("1", "1000 9000 5\n")
    counted = waiting.Waiting()
    write("1", "1600 9100 6\n")
    write("2", "100 200 1\n")
    write("3", "")  # of a thread that ends
    assert counted.share() == 0.3
    assert waiting.on_times(0.09) == [] and waiting.much(0.1)


def test_where_the_system_does_not_tell_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_TASKS", tmp_path / "none")
    assert waiting.on_times(waiting.Waiting().share()) == []
