"""A process goes on where nobody reads its output any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.toys import REPOSITORY, environment

PROGRAM = """
import os, pathlib, sys, time
from tqdm import tqdm
from megatinybert.runtime.output import outlive_readers
{outlive}
print("ready", flush=True)
print("ready", file=sys.stderr)
sys.stdin.readline()
for number in tqdm(range(3), mininterval=0):
    print("nobody hears it", file=sys.stderr)
    print("nobody hears it", flush=True)
os.write(2, b"nor this")
pathlib.Path(sys.argv[1]).touch()
"""


@pytest.mark.parametrize("outlives", [True, False])
def test_it_goes_on_when_its_readers_have_gone(outlives: bool, tmp_path: Path) -> None:
    program = PROGRAM.format(outlive="outlive_readers()" if outlives else "")
    command = [sys.executable, "-c", program, str(tmp_path / "done")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdin and process.stdout and process.stderr
    assert process.stdout.readline() == process.stderr.readline() == "ready\n"
    process.stdout.close()
    process.stderr.close()
    process.stdin.write("\n")
    process.stdin.close()
    code = process.wait(60)
    assert (tmp_path / "done").exists() is outlives
    assert (code == 0) is outlives
