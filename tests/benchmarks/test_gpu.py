"""benchmarks/gpu.sh: every part works on a CPU with tiny sizes, and none takes the others down with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.toys import REPOSITORY, environment

pytestmark = pytest.mark.slow

PARTS = [
    "Tests marked gpu",
    "A student solved",
    "A run through NCCL",
    "A teacher in 8 bits",
    "A step at length 16",
    "A step at length 32",
]
# In the place of Python: solving fails, and the run hangs.
STAND_IN = """#!/bin/sh
case $* in
-c*) exit 0 ;;
*gpu.py\\ prepare*) echo '- hardware: none' ;;
*gpu.py\\ solve*) echo half a result; echo no such device >&2; exit 3 ;;
*gpu.py\\ distil*) exec sleep "${HANGS:-0}" ;;
*) echo 'a result' ;;
esac
"""


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "benchmarks/gpu.sh", *arguments],
        cwd=REPOSITORY,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def outcomes(report: str) -> dict[str, str]:
    """What became of each part, from the table at the top."""
    rows = [line.strip("| ").split(" | ") for line in report.split("\n## ")[0].splitlines() if line.startswith("| ")]
    return {name: outcome for name, _, outcome in rows[1:]}


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    script = tmp_path / "python"
    script.write_text(STAND_IN)
    script.chmod(0o755)
    return str(script)


def test_a_dry_run_comes_to_its_end(tmp_path: Path) -> None:
    output = tmp_path / "new" / "report.md"
    done = run("--dry-run", str(output), PYTHON=sys.executable, COMMIT="abc1234", BUDGET="590")
    report = output.read_text()
    assert done.returncode == 0, report
    assert outcomes(report) == dict.fromkeys(PARTS, "ok")
    head, *parts = report.split("\n## ")
    assert head.startswith("# DRY RUN on a CPU")
    for name in ("command: `sh benchmarks/gpu.sh --dry-run", "hardware: ", "versions: ", "commit: abc1234", "date: "):
        assert f"- {name}" in head
    assert len(parts) == len(PARTS)
    for part, name, number in zip(
        parts,
        PARTS,
        ("skipped", "| 2L-24 | 4,096 |", "held-out total", "| int8 |", "speed-up over literal", "| literal |"),
        strict=True,
    ):
        assert part.startswith(f"{name} (dry run, not a GPU)") and number in part
    assert "differ by 0.0e+00 at most" in parts[1]
    assert "by the deepspeed launcher: ok" in parts[2] and "student: solved on" in parts[3]


def test_a_part_that_fails_does_not_stop_the_others(tmp_path: Path, stand_in: str) -> None:
    done = run("--dry-run", str(tmp_path / "report.md"), PYTHON=stand_in)
    report = (tmp_path / "report.md").read_text()
    assert done.returncode == 1
    assert outcomes(report) == dict.fromkeys(PARTS, "ok") | {"A student solved": "failed with exit code 3"}
    assert "half a result" in report and "```text\nno such device\n```" in report
    assert "A student solved: failed with exit code 3 (" in done.stderr


def test_what_hangs_is_stopped_and_what_no_longer_fits_is_named(tmp_path: Path, stand_in: str) -> None:
    limits = {"BUDGET": "4", "LEAST": "3", "HANGS": "60"}
    done = run("--dry-run", str(tmp_path / "report.md"), PYTHON=stand_in, **limits)
    found = outcomes((tmp_path / "report.md").read_text())
    assert done.returncode == 1
    assert list(found) == PARTS
    assert found["A run through NCCL"] in ("stopped after 4 s", "stopped after 3 s")
    for name in PARTS[3:]:
        assert found[name].startswith("skipped: ") and found[name].endswith(" s of 4 were left")


def test_without_a_gpu_it_refuses(tmp_path: Path) -> None:
    done = run(str(tmp_path / "report.md"), PYTHON=sys.executable)
    assert done.returncode == 2
    assert "torch sees no GPU here; --dry-run tries every part on the CPU" in done.stderr
    assert not (tmp_path / "report.md").exists()
    done = run("--quick")
    assert done.returncode == 2 and "--quick: the only option is --dry-run" in done.stderr
