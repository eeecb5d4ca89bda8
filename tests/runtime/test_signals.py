"""Ctrl-C while a program is imported shows no traceback, and leaves its answer to whoever else has one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.processes import exit_codes, wait_until
from tests.helpers.toys import REPOSITORY, environment

SLOW = """
import pathlib, time
pathlib.Path(__file__).with_name("begun").touch()
time.sleep(60)
"""


@pytest.mark.parametrize(
    "command",
    [
        ("sh", "launch/general.sh"),
        ("sh", "launch/task.sh", "all"),
        ("python", "data_prep/build_shards.py"),
        ("python", "data_prep/augment.py"),
        ("python", "data_prep/inspect_shards.py"),
        ("python", "-m", "megatinybert.doctor"),
        ("python", "-m", "megatinybert.report", "run"),
        ("python", "-m", "megatinybert.search", "run", "--text", "text"),
    ],
    ids=lambda command: next(word for word in command if "." in word),
)
def test_ctrl_c_during_imports_ends_a_program_without_a_word(command: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text(SLOW)  # which all of them import
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment(PYTHONPATH=f"{tmp_path}:{REPOSITORY}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which pytest-xdist's workers ignore
    )
    wait_until((tmp_path / "begun").exists, [process])
    process.send_signal(signal.SIGINT)
    assert exit_codes([process]) == [-signal.SIGINT]  # to a shell 130
    assert process.communicate()[0] == ""


IMPORTED = """
import signal, sys
from megatinybert.runtime.signals import silent_interrupts
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
with silent_interrupts():
    within = signal.getsignal(signal.SIGINT)
print(within.name if isinstance(within, signal.Handlers) else within.__name__)
print(signal.getsignal(signal.SIGINT) is getattr(signal, sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("before", "within"), [("default_int_handler", "SIG_DFL"), ("SIG_IGN", "SIG_IGN"), ("raise_signal", "raise_signal")]
)
def test_what_answered_ctrl_c_before_answers_it_after_the_imports(before: str, within: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, before], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert done.stdout.split() == [within, "True"], done.stderr
