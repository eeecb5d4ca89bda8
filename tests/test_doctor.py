"""The doctor's command line: mistakes, exit codes, and that it says what is missing before it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from megatinybert import doctor
from megatinybert.runtime import dist
from tests.helpers.toys import REPOSITORY, environment, recipe


def test_help_and_mistakes_in_its_own_options_need_no_torch() -> None:
    program = (
        "import sys; from megatinybert import doctor\n"
        "code = doctor.main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    for options, code, text in (
        (["--help"], 0, "--no-burst"),
        (["--ranks", "0", "--teacher.model", "t"], 2, "0 is not a number of processes"),
        (["--config", "launch/recipes/task-paper.yaml"], 2, "a recipe of launch/task.sh"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *options], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert text in done.stdout + done.stderr


def test_under_the_launcher_it_is_refused(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert doctor.main(recipe(toy_inputs)) == 2
    assert "start it without the launcher" in capsys.readouterr().err


@pytest.mark.parametrize(("where", "function"), [(dist, "start"), (doctor, "examine")])
def test_ctrl_c_is_told_in_a_line(
    where: ModuleType,
    function: str,
    toy_inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    left = []
    # In place of this process's own group, which other tests go on using.
    monkeypatch.setattr(dist, "start", lambda: dist.World(0, 1, torch.device("cpu")))
    monkeypatch.setattr(dist, "stop", lambda: left.append(True))
    monkeypatch.setattr(where, function, interrupted)
    assert doctor.main(recipe(toy_inputs)) == 130
    assert left == [True] * (where is doctor) and capsys.readouterr().err.endswith("\nstopped\n")


def test_a_misspelt_option_of_its_own(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(doctor, "examine_apart", lambda asked, _: told.extend(asked.problems))
    monkeypatch.setattr(dist, "start", lambda: dist.World(0, 1, torch.device("cpu")))
    monkeypatch.setattr(dist, "stop", lambda: None)
    assert doctor.main([*recipe(toy_inputs), "--rank", "4", "--no-brust"]) == 2
    wrong = (("rank 4", "ranks"), ("no-brust", "no-burst"))
    assert told == [f"--{name} (command line): no such option; did you mean --{meant}?" for name, meant in wrong]


@pytest.mark.usefixtures("pinned_versions")
def test_without_a_package_that_alone_is_told(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no text is broken into lines
    wanted = doctor.check_versions.__globals__["PACKAGES"]
    monkeypatch.setitem(wanted, "no-such-package", wanted["torch"])
    assert doctor.main(recipe(toy_inputs)) == 1
    said = capsys.readouterr().out
    assert said.startswith("fail  versions  no-such-package is not installed: pip install")
    assert "1 wrong" in said
