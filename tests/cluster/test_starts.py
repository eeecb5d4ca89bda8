"""Every way to start a run on several nodes trains two steps, as one rank alone does, and leaves nothing behind."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.helpers.cluster import GENERAL, PYTHON_GENERAL, Cluster, options
from tests.helpers.processes import exit_codes
from tests.helpers.toys import REPOSITORY, free_port, metrics

pytestmark = pytest.mark.multinode

Started = list["Popen[str]"]
TORCHRUN = str(Path(sys.executable).with_name("torchrun"))


def deepspeed_by_pdsh(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    hosts = cluster.hostfile(folder, 1, 2)
    return [cluster.start(1, ["deepspeed", "--hostfile", str(hosts), GENERAL, *words], folder / "node-1.log")]


def sh_by_pdsh_on_three_nodes(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    hosts = cluster.hostfile(folder, 1, 2, 3)
    arguments = f"--enable_each_rank_log {folder}/logs"
    variables = {"HOSTFILE": str(hosts), "DEEPSPEED_ARGS": arguments}
    words = [*words, "--run.global_batch", "12"]  # a multiple of the micro batch times the ranks
    return [cluster.start(1, ["sh", GENERAL, *words], folder / "node-1.log", **variables)]


def one_launcher_on_each_node(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    hosts = cluster.hostfile(folder, 1, 2)
    launcher = ["deepspeed", "--hostfile", str(hosts), "--no_ssh", "--master_addr", "node-1"]
    return [
        cluster.start(node, [*launcher, "--node_rank", str(node - 1), GENERAL, *words], folder / f"node-{node}.log")
        for node in (1, 2)
    ]


def two_ranks_of_one_node(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    arguments = f"--num_accelerators 2 --master_port {free_port()}"
    return [cluster.start(1, ["sh", GENERAL, *words], folder / "node-1.log", DEEPSPEED_ARGS=arguments)]


def torchrun(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    launcher = [TORCHRUN, "--nnodes", "2", "--master_addr", "node-1", "--master_port", "29600"]
    launcher += ["--log-dir", str(folder / "logs"), "--redirects", "3"]
    return [
        cluster.start(node, [*launcher, "--node_rank", str(node - 1), GENERAL, *words], folder / f"node-{node}.log")
        for node in (1, 2)
    ]


def torchrun_by_rendezvous(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    launcher = [TORCHRUN, "--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "node-1:29700"]
    launcher += ["-m", "megatinybert.general"]
    return [cluster.start(node, [*launcher, *words], folder / f"node-{node}.log") for node in (1, 2)]


def pods_of_one_rank(
    cluster: Cluster, folder: Path, words: Sequence[str], of_the_second: Sequence[str] = ()
) -> Started:
    """The environment that Kubernetes' PyTorch operator gives to each pod. of_the_second: options that it has more."""
    commands = ([*PYTHON_GENERAL, *words], ["sh", GENERAL, *words, *of_the_second])
    environment = {"MASTER_ADDR": "node-1", "MASTER_PORT": "23456", "WORLD_SIZE": "2"}
    return [
        cluster.start(rank + 1, command, folder / f"node-{rank + 1}.log", RANK=str(rank), **environment)
        for rank, command in enumerate(commands)
    ]


def pods_of_an_indexed_job(cluster: Cluster, folder: Path, words: Sequence[str]) -> Started:
    """The command of launch/kubernetes/general.yaml, with names and options of this run."""
    documents = yaml.safe_load_all((REPOSITORY / "launch" / "kubernetes" / "general.yaml").read_text())
    [container] = list(documents)[1]["spec"]["template"]["spec"]["containers"]
    [script] = container["args"]
    replaced = {
        "megatinybert-$index.megatinybert": "node-$((index + 1))",
        "megatinybert-0.megatinybert": "node-1",
        "/tmp/hosts": f"{folder}/hosts-$JOB_COMPLETION_INDEX",
        "--config /etc/megatinybert/recipe.yaml": shlex.join(words),
    }
    for name, here in replaced.items():
        assert name in script
        script = script.replace(name, here)
    pod = {"MACHINES": "2", "SLOTS": "1"}
    command = [*container["command"], script]
    return [
        cluster.start(index + 1, command, folder / f"node-{index + 1}.log", JOB_COMPLETION_INDEX=str(index), **pod)
        for index in (0, 1)
    ]


FORMS: dict[Callable[[Cluster, Path, Sequence[str]], Started], str] = {  # and what the run says of its ranks
    deepspeed_by_pdsh: "2 ranks on cpu of node-1, node-2",
    sh_by_pdsh_on_three_nodes: "3 ranks on cpu of node-1, node-2, node-3",
    one_launcher_on_each_node: "2 ranks on cpu of node-1, node-2",
    two_ranks_of_one_node: "2 ranks on cpu",
    torchrun: "2 ranks on cpu of node-1, node-2",
    torchrun_by_rendezvous: "2 ranks on cpu of node-1, node-2",
    pods_of_one_rank: "2 ranks on cpu of node-1, node-2",
    pods_of_an_indexed_job: "2 ranks on cpu of node-1, node-2",
}


def distance(run: Path, other: Path) -> float:
    """The largest difference of two final students, relative to the largest weight of each tensor."""
    students = [load_file(folder / "student" / "model.safetensors") for folder in (run, other)]
    assert students[0].keys() == students[1].keys()
    return max(float((own - students[1][name]).abs().max() / own.abs().max()) for name, own in students[0].items())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_trains(
    form: Callable[[Cluster, Path, Sequence[str]], Started],
    cluster: Cluster,
    alone: Path,
    toy_inputs: Path,
    tmp_path: Path,
) -> None:
    started = form(cluster, tmp_path, options(toy_inputs, tmp_path))
    codes = exit_codes(started, seconds=480)
    said = "\n".join(log.read_text() for log in sorted(tmp_path.rglob("*.log")))
    assert codes == [0] * len(started), said
    assert cluster.left_behind() == []
    assert f"{FORMS[form]}\n" in said
    assert said.count("warning: network: ZeRO 1 ") == (form is not two_ranks_of_one_node)
    assert [row["step"] for row in metrics(tmp_path / "run")] == [0, 1, 2]
    if form is not sh_by_pdsh_on_three_nodes:  # whose batch is larger
        apart = distance(tmp_path / "run", alone)
        print(f"{form.__name__}: weights at most {apart:.1e} from those of one rank")
        assert apart < 1e-6


def test_a_teacher_in_parts_on_two_nodes(cluster: Cluster, alone: Path, toy_inputs: Path, tmp_path: Path) -> None:
    """Its layers are gathered, and rows of its embeddings exchanged, from one node to the other."""
    started = torchrun(cluster, tmp_path, options(toy_inputs, tmp_path, **{"teacher.deepspeed": "teacher-zero3"}))
    assert exit_codes(started, seconds=480) == [0, 0], (tmp_path / "node-1.log").read_text()
    assert distance(tmp_path / "run", alone) < 1e-6


def test_nodes_that_differ_are_refused(cluster: Cluster, toy_inputs: Path, tmp_path: Path) -> None:
    """The teacher of the second node has another weight; its file is another one on that node alone."""
    weights = toy_inputs / "teacher" / "model.safetensors"
    changed = load_file(weights)
    changed["embeddings.word_embeddings.weight"][0, 0] += 1e-3
    save_file(changed, tmp_path / "changed", {"format": "pt"})
    cluster("run", "2", "mount", "--bind", str(tmp_path / "changed"), str(weights))
    try:
        started = pods_of_one_rank(cluster, tmp_path, options(toy_inputs, tmp_path))
        codes = exit_codes(started, seconds=480)
    finally:
        cluster("run", "2", "umount", str(weights))
    said = [(tmp_path / f"node-{node}.log").read_text() for node in (1, 2)]
    assert codes == [2, 2], said
    for text in said:
        assert "the ranks do not run the same" in text and "rank 1 (node-2)" in text
    assert not (tmp_path / "run" / "metrics.jsonl").exists()

    started = pods_of_one_rank(cluster, tmp_path, options(toy_inputs, tmp_path), ["--run.seed", "7"])
    assert exit_codes(started, seconds=480) == [2, 2]
    assert "run.seed: 0 on rank 0 (node-1); 7 on rank 1 (node-2)" in (tmp_path / "node-1.log").read_text()
