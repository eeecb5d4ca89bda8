"""What the DeepSpeed launcher is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.programs import launch_options
from megatinybert.programs.launch_options import choose_gpus, plan_launch

GPUS = ["GPU-11aa-1", "GPU-11aa-2", "GPU-22bb-3"]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """UUIDs of the GPUs that the machine has; to be filled."""
    there: list[str] = []
    monkeypatch.setattr(launch_options, "_gpu_uuids", lambda: there)
    return there


def options(arguments: str = "", **environment: str) -> list[str]:
    return plan_launch({"DEEPSPEED_ARGS": arguments, **environment}).options


def test_one_machine_gets_a_free_port_and_a_silent_launcher() -> None:
    one, two = options(), options("--num_accelerators 2")
    assert one[:2] == ["--log_level", "critical"] and one[2] == "--master_port" and 20_000 <= int(one[3]) < 30_000
    assert two[4:] == ["--num_accelerators", "2"] and one[3] != two[3]


@pytest.mark.parametrize(
    "given", ["--master_port 29501 --log_level info", "--master_port=29501 -q", "--master_port 29501 --quiet"]
)
def test_what_is_given_stands(given: str) -> None:
    assert options(given) == given.split()


def test_words_may_be_quoted() -> None:
    assert options("-q --master_port 1 --launcher_args '-l me'")[-2:] == ["--launcher_args", "-l me"]


def test_several_machines_keep_the_port_that_all_know(tmp_path: Path) -> None:
    hosts = tmp_path / "my hosts"
    hosts.write_text("# two machines\nnode-1 slots=8\n\nnode-2 slots=8 # the last\n")
    plan = plan_launch({"HOSTFILE": str(hosts), "PDSH_SSH_ARGS_APPEND": "-F mine"})
    # The launcher tells all machines the port, by which the run's processes there are found.
    assert plan.options[:3] == ["--log_level", "critical", "--master_port"] and plan.remote
    assert plan.options[3:] == [plan.port, "--hostfile", str(hosts)] and 20_000 <= int(plan.port) < 30_000
    assert plan.hosts == ("node-1", "node-2")
    assert plan.environment["PDSH_SSH_ARGS_APPEND"] == "-F mine -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    arguments = "--no_ssh --node_rank 0 --master_addr node-1"
    alone = plan_launch({"HOSTFILE": str(hosts), "DEEPSPEED_ARGS": arguments, "SLURM_STEP_NUM_TASKS": "2"})
    assert "--master_port" not in alone.options and not alone.remote and "PDSH_SSH_ARGS_APPEND" not in alone.environment
    hosts.write_text("localhost slots=1\n")
    one = plan_launch({"HOSTFILE": str(hosts)})
    assert "--master_port" in one.options and not one.remote


def test_mistakes_are_refused_before_the_launcher_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hostfile .*no_hosts is not there"):
        plan_launch({"HOSTFILE": str(tmp_path / "no_hosts")})
    with pytest.raises(ValueError, match="SLURM_STEP_NUM_TASKS is 2"):
        options(SLURM_STEP_NUM_TASKS="2")


@pytest.mark.parametrize(
    ("visible", "chosen"),
    [("2,0", [2, 0]), ("GPU-22,GPU-11aa-1", [2, 0]), ("-1", []), ("", []), ("1,-1,2", [1]), (" 1 , 2", [1, 2])],
)
def test_visible_gpus(visible: str, chosen: list[int]) -> None:
    assert choose_gpus(visible, GPUS) == chosen


@pytest.mark.parametrize(
    ("visible", "words"),
    [
        ("3", "CUDA_VISIBLE_DEVICES=3: no GPU 3 here; there are: 0 \\(GPU-11aa-1\\)"),
        ("GPU-11aa", "no GPU GPU-11aa here"),
        ("MIG-11aa", "python -m megatinybert.general"),
    ],
)
def test_gpus_that_cannot_be_used_are_refused(visible: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose_gpus(visible, GPUS)


def test_the_launcher_is_told_the_visible_gpus(gpus: list[str]) -> None:
    gpus += GPUS
    plan = plan_launch({"CUDA_VISIBLE_DEVICES": "GPU-22,1", "DEEPSPEED_ARGS": "-q --num_gpus=1 --master_port 1"})
    assert plan.options == ["--include", "localhost:2", "-q", "--master_port", "1"]
    assert "CUDA_VISIBLE_DEVICES" not in plan.environment and plan.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    with pytest.raises(ValueError, match="--num_accelerators 2, but CUDA_VISIBLE_DEVICES=1 has 1"):
        options("--num_accelerators 2", CUDA_VISIBLE_DEVICES="1")


@pytest.mark.parametrize("visible", ["2,3", "-1", "", "GPU-1234"])
def test_without_gpus_the_processor_is_used(visible: str, gpus: list[str]) -> None:
    plan = plan_launch({"CUDA_VISIBLE_DEVICES": visible, "DEEPSPEED_ARGS": "-q --num_accelerators 2 --master_port 1"})
    assert plan.options == ["-q", "--num_accelerators", "2", "--master_port", "1"]
    assert "CUDA_VISIBLE_DEVICES" not in plan.environment and plan.environment["DS_ACCELERATOR"] == "cpu"


def test_gpus_of_one_machine_among_several_stay(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("node-1 slots=2\nnode-2 slots=2\n")
    own = {"HOSTFILE": str(hosts), "DEEPSPEED_ARGS": "--no_ssh --node_rank 0", "CUDA_VISIBLE_DEVICES": "GPU-11aa-2,3"}
    assert plan_launch(own).environment["MEGATINYBERT_DEVICES"] == "GPU-11aa-2,3"
    pdsh = {"HOSTFILE": str(hosts), "CUDA_VISIBLE_DEVICES": "2,3"}
    with pytest.raises(ValueError, match="--include node-1:2,3@node-2:2,3"):
        plan_launch(pdsh)
    assert "MEGATINYBERT_DEVICES" not in plan_launch(pdsh | {"CUDA_VISIBLE_DEVICES": "0,1"}).environment
    assert plan_launch(pdsh | {"CUDA_VISIBLE_DEVICES": ""}).environment["DS_ACCELERATOR"] == "cpu"
    assert "MEGATINYBERT_DEVICES" not in plan_launch(own | {"DS_ACCELERATOR": "cpu"}).environment
