"""A warm Python (tests/scripts/warm.py) runs commands as Python does: words, surroundings, output and exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import exit_codes, start
from tests.helpers.toys import environment
from tests.helpers.warm_python import warm_python

SHOW = "import os, sys; print(__name__, sys.argv, os.getcwd(), os.environ['GIVEN'], sys.path[0], sys.stdin.read())"
KNOWS_TORCH = "import sys; print('torch' in sys.modules, 'megatinybert' in sys.modules, 'deepspeed' in sys.modules)"


def run(words: list[str], cwd: Path, python: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    clean = environment(PYTHONPATH="", GIVEN="this", **variables)
    return subprocess.run(
        [*python, *words], cwd=cwd, env=clean, input="in", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("form", ["text", "file", "module"])
def test_a_command_sees_what_it_would_see(form: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "shown.py").write_text(SHOW)
    words = {"text": ["-c", SHOW], "file": ["folder/shown.py"], "module": ["-m", "folder.shown"]}[form]
    warm, cold = (run([*words, "a", "--b"], tmp_path, python) for python in (warm_python(), [sys.executable]))
    assert cold.returncode == 0 and "this" in cold.stdout
    assert (warm.returncode, warm.stdout, warm.stderr) == (cold.returncode, cold.stdout, cold.stderr)


@pytest.mark.parametrize("text", ["exit(75)", "exit('bad')", "1 / 0", "import os; os.kill(os.getpid(), 9)"])
def test_it_ends_as_it_would_end(text: str, tmp_path: Path) -> None:
    warm, cold = (run(["-c", text], tmp_path, python) for python in (warm_python(), [sys.executable]))
    assert warm.returncode == cold.returncode != 0
    assert warm.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


def test_it_has_the_packages_and_nothing_of_ours(tmp_path: Path) -> None:
    assert run(["-c", KNOWS_TORCH], tmp_path, warm_python()).stdout == "True False False\n"


def test_what_is_read_as_python_starts_has_a_start_of_its_own(tmp_path: Path) -> None:
    done = run(["-c", KNOWS_TORCH], tmp_path, warm_python(), OMP_NUM_THREADS="2")
    assert done.stdout == "False False False\n"


def test_signals_are_handed_on(tmp_path: Path) -> None:
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = start([*warm_python(), "-c", text], tmp_path / "log")
    while "ready" not in (tmp_path / "log").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert exit_codes([process]) == [3]
