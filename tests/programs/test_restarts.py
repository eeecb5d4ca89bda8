"""Runs that are started again after a fault: by torch's elastic agent alone, and as a whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing import SignalException

from megatinybert.programs.agent import count_ranks, preloaded
from megatinybert.programs.launch_options import plan_agent
from megatinybert.programs.launcher import STOPPED
from megatinybert.programs.restarts import Agent
from megatinybert.programs.start import _halted, _stopped
from megatinybert.runtime.rendezvous import AGENT, HALTED
from tests.helpers.processes import left_behind, start, wait_until
from tests.helpers.toys import REPOSITORY, environment, metrics, recipe

# What the ranks of each attempt do, in words of RANK below; how often they may start again; exit code, attempts.
CASES = {
    "all is well": (["well"], 2, 0, 1),
    "a rank is killed": (["killed", "well"], 2, 0, 2),
    "a rank is killed too often": (["killed", "killed", "killed"], 1, 256 - signal.SIGKILL, 2),
    "a rank crashes": (["crash", "lost", "well"], 2, 0, 3),
    "a mistake": (["mistake", "well"], 2, 2, 1),
    "asked to stop": (["stop", "well"], 2, STOPPED, 1),
    "would halt again": (["halt", "well"], 2, 1, 1),
}
RANK = """
import os, pathlib, signal, sys, time
folder, rank = pathlib.Path(sys.argv[1]), int(os.environ["RANK"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
(folder / f"{attempt}-{rank}").write_text(os.environ["WORLD_SIZE"] + os.environ["LOCAL_RANK"])
act = sys.argv[2:][attempt]
if act == "killed" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if act == "crash" and rank == 1:
    raise RuntimeError("crashed")
if act in ("killed", "crash"):
    time.sleep(600)  # in a collective, as it were
if act != "well":
    time.sleep(0.2 * rank)
    os._exit({"mistake": 2, "stop": 75, "halt": 70, "lost": 69}[act])
"""
PROGRAM = """
import json, multiprocessing, pathlib, sys
from megatinybert.programs.restarts import run
multiprocessing.set_forkserver_preload(["megatinybert.programs.restarts"])
for name, (acts, restarts, *_) in json.loads(sys.argv[1]).items():
    folder = pathlib.Path(sys.argv[2], name)
    folder.mkdir()
    print(f"{name}:", file=sys.stderr, flush=True)
    code = run([sys.argv[2] + "/rank.py", str(folder), *acts], 2, restarts)
    (folder / "code").write_text(str(code))
"""


@pytest.fixture(scope="module")
def attempted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folders with what each case came to, and all that was said."""
    folder = tmp_path_factory.mktemp("attempts")
    (folder / "rank.py").write_text(RANK)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(CASES), str(folder)],
        cwd=REPOSITORY,
        env=environment(**{AGENT: "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_followed_by_another_attempt_and_other_ends_are_not(name: str, attempted: tuple[Path, str]) -> None:
    _, _, code, attempts = CASES[name]
    folder = attempted[0] / name
    assert (folder / "code").read_text() == str(code)
    expected = {f"{attempt}-{rank}": f"2{rank}" for attempt in range(attempts) for rank in (0, 1)}
    assert {file.name: file.read_text() for file in folder.glob("*-*")} == expected


def test_each_restart_is_told_in_a_line(attempted: tuple[Path, str]) -> None:
    said = attempted[1].split("a mistake:")[0]
    host = os.uname().nodename
    killed = f"rank 1 ({host}) was ended by SIGKILL, which the kernel sends where memory runs out"
    assert said.count(f"{killed}: restart 1 of 2, from the newest checkpoint\n") == 1
    assert f"rank 1 ({host}) ended with exit code 1: restart 1 of 2" in said
    assert f"rank 0 ({host}) ended with exit code 69: restart 2 of 2" in said
    assert said.count("Traceback") == 1 and "RuntimeError: crashed" in said  # the rank's own, not torch's
    assert "restart" not in attempted[1].split("a mistake:")[1]


def test_asked_to_stop_between_two_starts_it_makes_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    agent = Agent.__new__(Agent)
    agent.stop()
    with pytest.raises(SignalException):
        agent._start_workers(None)
    assert "the same command continues from the newest checkpoint, if any" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_would_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _halted() == 1
    monkeypatch.setenv(AGENT, "1")
    assert _halted() == HALTED


def test_torchrun_does_not_restart_what_was_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_MAX_RESTARTS", raising=False)
    assert _stopped() == STOPPED
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert _stopped() == 0
    monkeypatch.setenv(AGENT, "1")
    assert _stopped() == STOPPED


def test_ranks_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.setenv("LOCAL_SIZE", "3")
    assert (count_ranks(0), count_ranks(2)) == (3, 2)
    assert "here" in preloaded("here.work") and "deepspeed" in preloaded("here.work")
    monkeypatch.setenv("DS_ACCELERATOR", "cuda")
    assert preloaded("here.work") == ["torch", "transformers"]  # DeepSpeed would look at the GPUs before the fork


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (count_ranks(0), count_ranks(1)) == (2, 1)
    with pytest.raises(ValueError, match="--num_accelerators 3, and this machine has 2 GPUs"):
        count_ranks(3)


def test_the_agent_starts_ranks_on_this_machine_alone(tmp_path: Path) -> None:
    plan = plan_agent({"DEEPSPEED_ARGS": "--num_accelerators 2", "PYTHONPATH": "mine"}, 3, "here.work")
    assert plan.options == ["-m", "megatinybert.programs.agent", "3", "2", "here.work"]
    assert plan.environment["PYTHONPATH"] == f"{REPOSITORY}{os.pathsep}mine" and plan.restarts == 3
    with pytest.raises(ValueError, match="HOSTFILE=hosts names others: there, start torchrun --max-restarts 3"):
        plan_agent({"HOSTFILE": "hosts"}, 3, "here.work")
    with pytest.raises(ValueError, match="knows no --master_port 1 of DEEPSPEED_ARGS"):
        plan_agent({"DEEPSPEED_ARGS": "--master_port 1 --num_gpus 2"}, 3, "here.work")
    with pytest.raises(ValueError, match="SLURM_STEP_NUM_TASKS is 2"):
        plan_agent({"SLURM_STEP_NUM_TASKS": "2"}, 3, "here.work")


def launch(output: Path, inputs: Path, **overrides: object) -> subprocess.Popen[str]:
    given = {"run.max_steps": 60, "run.save_interval": 10, "run.held_out_interval": 60, "run.compile": "never"}
    options = recipe(inputs, **{"run.output_dir": output, **given, **overrides})
    variables = {"DEEPSPEED_ARGS": "--num_accelerators 2", "DS_ACCELERATOR": "cpu"}
    return start(["sh", "launch/general.sh", *options, "--run.restarts", "2"], output.with_suffix(".log"), **variables)


def ranks_of(front: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        rank
        for server in psutil.Process(front.pid).children()[0].children()
        if "forkserver" in " ".join(server.cmdline())
        for rank in server.children()
    ]


def saved(output: Path) -> bool:
    return (output / "checkpoints" / "step-00000010").exists()


def test_a_run_comes_back_by_itself_to_the_same_bits(toy_inputs: Path, tmp_path: Path) -> None:
    undisturbed = launch(tmp_path / "whole", toy_inputs)
    front = launch(tmp_path / "killed", toy_inputs)
    wait_until(lambda: saved(tmp_path / "killed"), [front])
    ranks_of(front)[1].kill()
    assert [undisturbed.wait(240), front.wait(240)] == [0, 0], (tmp_path / "killed.log").read_text()
    assert left_behind(tmp_path) == []
    said = (tmp_path / "killed.log").read_text()
    assert said.count(": restart 1 of 2, from the newest checkpoint") == 1 and "steps: 0 done of 60" in said
    assert said.count("done of 60") == 2 and "Traceback" not in said
    found, expected = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    assert [row["step"] for row in metrics(tmp_path / "killed")] == list(range(61))


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_stays_so(toy_inputs: Path, tmp_path: Path) -> None:
    front = launch(tmp_path / "run", toy_inputs, **{"run.max_steps": 100_000})
    wait_until(lambda: saved(tmp_path / "run"), [front])
    front.terminate()
    assert front.wait(60) == STOPPED and left_behind(tmp_path) == []
    said = (tmp_path / "run.log").read_text()
    assert "the same command continues from step" in said and "restart 1" not in said
