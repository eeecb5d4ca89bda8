"""The files of launch/ for Slurm and Kubernetes; tests/cluster runs them on several nodes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from megatinybert.runtime.rendezvous import LOST
from tests.helpers.commands import noted_calls, read_launch, write_noting_tools, write_tool
from tests.helpers.toys import REPOSITORY

SBATCH = REPOSITORY / "launch" / "slurm" / "general.sbatch"
INDEXED_JOB = REPOSITORY / "launch" / "kubernetes" / "general.yaml"


@pytest.fixture
def job() -> Any:
    return list(yaml.safe_load_all(INDEXED_JOB.read_text()))[1]


def test_the_pods_find_one_another(job: Any) -> None:
    """A pod of an Indexed Job is found as JOB-INDEX.SUBDOMAIN, where a headless service has the subdomain's name."""
    service = next(yaml.safe_load_all(INDEXED_JOB.read_text()))
    name, pod = job["metadata"]["name"], job["spec"]["template"]["spec"]
    assert service["kind"] == "Service" and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    [container] = pod["containers"]
    assert set(re.findall(r"\S+\.megatinybert\b", container["args"][0].replace('"', " "))) == {
        f"{name}-$index.{pod['subdomain']}",
        f"{name}-0.{pod['subdomain']}",
    }


def test_the_job_has_a_pod_on_each_machine_and_continues(job: Any) -> None:
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(variables["MACHINES"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] == int(variables["SLOTS"])
    assert pod["restartPolicy"] == "Never"  # as a podFailurePolicy asks for
    [fails] = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert fails["operator"] == "In" and not {0, LOST, 75} & set(fails["values"])
    assert pod["terminationGracePeriodSeconds"] > 60
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_a_pod_starts_its_launcher(job: Any, tmp_path: Path) -> None:
    [container] = job["spec"]["template"]["spec"]["containers"]
    script = container["args"][0].replace("/tmp/hosts", "hosts").replace("/etc/megatinybert/recipe.yaml", "recipe.yaml")
    options = "teacher: {model: a}\ndata: {shards: [b]}\n"
    [call] = noted(["sh", "-c", script], tmp_path, options, JOB_COMPLETION_INDEX="1", MACHINES="2", SLOTS="8")
    launch = read_launch(call)
    assert (launch.no_ssh, launch.node_rank, launch.master_addr) == (True, 1, "megatinybert-0.megatinybert")
    hosts = "megatinybert-0.megatinybert slots=8\nmegatinybert-1.megatinybert slots=8\n"
    assert (tmp_path / launch.hostfile).read_text() == hosts


def test_slurm_asks_for_what_the_script_relies_on() -> None:
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", SBATCH.read_text(), re.M))
    assert asked["ntasks-per-node"] == "1" and "requeue" in asked and asked["open-mode"] == "append"
    assert asked["signal"] == "USR1@300"  # to the tasks, not to the batch shell alone
    assert {"nodes", "gpus-per-node", "cpus-per-task", "time", "output"} <= asked.keys()


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"),
    [(0, "0", False), (75, "99", True), (LOST, "9", True), (LOST, "10", False), (247, "9", True), (1, "0", False)],
)
def test_a_job_is_queued_again_where_it_can_continue(code: int, restarts: str, requeued: bool, tmp_path: Path) -> None:
    write_tool(tmp_path / "srun", f"exit {code}")
    write_tool(tmp_path / "scontrol", f'[ "$1" = requeue ] && echo "$2" >{tmp_path}/requeued || echo node-1')
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_RESTART_COUNT": restarts}
    environment |= {"SLURM_JOB_ID": "29999", "SLURM_JOB_NODELIST": "node-1"}
    done = subprocess.run(["sh", str(SBATCH)], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == (0 if requeued else code)
    assert (tmp_path / "requeued").exists() == requeued


def noted(command: list[str], folder: Path, recipe: str, **variables: str) -> list[Any]:
    """The calls of the launcher that a script would make in a folder like the repository's."""
    tools = folder / "tools"
    tools.mkdir()
    write_noting_tools(tools)
    write_tool(tools / "seq", "echo 0 1")
    (folder / "launch").symlink_to(REPOSITORY / "launch")
    (folder / "recipe.yaml").write_text(recipe)
    environment = {"PATH": str(tools), "DS_ACCELERATOR": "cpu", **variables}
    shell = [str(tools / command[0]), *command[1:]]
    subprocess.run(shell, cwd=folder, env=environment, check=True)
    return noted_calls(folder)
