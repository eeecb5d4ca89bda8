"""What an interrupted program says, and what it leaves: one line that is true of where it was, nothing half made."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from megatinybert.config.load import load_config
from megatinybert.programs.distil import distil
from megatinybert.programs.general_student import Solver
from megatinybert.programs.launcher import STOPPED
from megatinybert.programs.start import print_result
from megatinybert.runtime.dist import World
from megatinybert.training import run as training
from megatinybert.training.lock import HELD_BY
from tests.helpers import task_toys
from tests.helpers.processes import exit_codes, start, wait_until
from tests.helpers.toys import REPOSITORY, environment, recipe

READ = """
from megatinybert.programs.start import run_program
def read(argv, look):
    raise KeyboardInterrupt(*argv)
run_program(read, "")
"""


@pytest.mark.parametrize(
    ("said", "told"), [([], "stopped; the same command starts or continues the run"), (["stopped so"], "stopped so")]
)
def test_an_interrupted_program_says_one_line(said: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ, *said], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) == (STOPPED, told)


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_what_is_lost_before_the_first_step_is_said(
    world: World, toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solving; what was solved is saved, so that a run goes on from it as if it had not been stopped."""
    options, longer = (
        recipe(toy_inputs, **{"student.init": "solved", "run.output_dir": tmp_path / "run", "run.max_steps": steps})
        for steps in (2, 4)
    )
    with monkeypatch.context() as patch:
        patch.setattr(training, "settle_choices", _interrupt)
        anew = "^distil: stopped before step 1; nothing of it was saved: the same command begins it anew$"
        with pytest.raises(KeyboardInterrupt, match=anew):
            distil(load_config(options), world)
        assert not (tmp_path / "run" / "checkpoints").exists()
    with monkeypatch.context() as patch:
        patch.setattr(training, "describe", _interrupt)
        with pytest.raises(KeyboardInterrupt, match="before step 1; the same command continues from step 0$"):
            distil(load_config(options), world)
    with monkeypatch.context() as patch:
        patch.setattr(Solver, "solve", _interrupt)
        patch.setattr(training, "fit", _interrupt)  # it answers for itself
        with pytest.raises(KeyboardInterrupt, match="^$"):
            distil(load_config(options), world)
    distil(load_config(options), world)
    distil(load_config([*options, "--run.output_dir", str(tmp_path / "undisturbed")]), world)
    continued, undisturbed = (
        load_file(tmp_path / name / "student" / "model.safetensors") for name in ("run", "undisturbed")
    )
    assert all(torch.equal(continued[name], weight) for name, weight in undisturbed.items())
    monkeypatch.setattr(training, "describe", _interrupt)
    with pytest.raises(KeyboardInterrupt, match="before step 3; the same command continues from step 2$"):
        distil(load_config(longer), world)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_prediction_leaves_no_file(
    number: signal.Signals, done_task: Path, task_inputs: Path, tmp_path: Path
) -> None:
    rows, log, answers = tmp_path / "many.txt", tmp_path / "log", tmp_path / "out" / "answers.tsv"
    rows.write_text("so bamo\n" * 100_000)
    given = task_toys.options(task_inputs, "singles", done_task, **{"predict.input": rows, "predict.output": answers})
    process = start(task_toys.command("predict", given), log)
    wait_until(lambda: "answering 100,000 rows" in log.read_text(), [process])
    process.send_signal(number)
    assert exit_codes([process]) == [STOPPED]
    said = log.read_text()
    assert said.endswith(
        "\nstopped; nothing is written of a file until all of it is answered: the same command starts anew\n"
    )
    assert "Traceback" not in said and not list(answers.parent.glob("*"))


LOOK = """
import sys
from megatinybert.programs.start import run_program
run_program(lambda argv, look: sys.exit(print(look)), "")
"""


LAUNCH = """
import os
from types import SimpleNamespace
from megatinybert.programs import start
start.launch = lambda *_: print(os.environ["TORCH_CPP_LOG_LEVEL"]) or 0
start.run_program(lambda argv, look: SimpleNamespace(run=SimpleNamespace(restarts=0)), "")
"""


@pytest.mark.parametrize(("given", "expected"), [({}, "ERROR"), ({"TORCH_CPP_LOG_LEVEL": "INFO"}, "INFO")])
def test_the_launcher_inherits_how_much_torchs_core_says(given: dict[str, str], expected: str) -> None:
    variables = environment(MEGATINYBERT_LAUNCH="1", **given)
    if not given:
        variables.pop("TORCH_CPP_LOG_LEVEL", None)
    done = subprocess.run([sys.executable, "-c", LAUNCH], cwd=REPOSITORY, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "True"),
        ({"WORLD_SIZE": "2", "LOCAL_SIZE": "2"}, "True"),  # of `deepspeed launch/task.sh`: nobody has looked
        ({"WORLD_SIZE": "2", "LOCAL_SIZE": "2", HELD_BY: "process 1 on the-front"}, "False"),
        ({"WORLD_SIZE": "2", "LOCAL_SIZE": "1"}, "False"),
        ({"HOSTFILE": "hosts"}, "False"),
    ],
)
def test_files_are_looked_at_where_a_run_is_started_on_one_machine(given: dict[str, str], expected: str) -> None:
    variables = environment(**given)
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=REPOSITORY, env=variables, capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr


LEAVE = """
import atexit
from types import SimpleNamespace
from megatinybert.programs import start
class Kept:
    def __del__(self):
        print("taken apart", flush=True)
kept = Kept()
atexit.register(print, "said at the end")
def work(config, world):
    print("done")
    import megatinybert.training.stop as stop
    {end}
start.work = work
start.run_program(lambda argv, look: SimpleNamespace(run=SimpleNamespace(restarts=0)), f"{start.__name__}.work")
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("raise stop.Stopped('stopped at step 3')", STOPPED), ("raise ValueError('a mistake')", 2)],
)
def test_a_run_that_has_ended_ends_at_once(end: str, code: int) -> None:
    """What is to be done at exit is, but Python does not take apart what was imported."""
    program = LEAVE.replace("{end}", end)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, "done\nsaid at the end\n"), done.stderr


def test_ctrl_c_while_a_result_is_made_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    assert print_result(interrupted) == 130
    assert capsys.readouterr() == ("", "\nstopped; the same command starts anew\n")
