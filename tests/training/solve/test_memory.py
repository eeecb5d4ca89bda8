"""Memory does not grow with the tokens that a student is solved on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.toys import REPOSITORY, environment


@pytest.mark.slow
def test_memory_is_the_same_for_32_times_as_many_tokens() -> None:
    """Peak of a process of its own, with room for 8 MiB of states: all of a million tokens would be 400 MB and more."""
    peaks = []
    for tokens in (1 << 15, 1 << 20):
        command = [sys.executable, "tests/scripts/solve_memory.py", str(tokens)]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment(PYTHONPATH=str(REPOSITORY)),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        solved_on, peak = map(int, done.stdout.split())
        assert solved_on == tokens
        peaks.append(peak)
    print(f"peaks: {peaks[0] / 1e6:,.1f} and {peaks[1] / 1e6:,.1f} MB")
    assert peaks[1] < peaks[0] + (16 << 20)
