"""Slurm's script on the little cluster: warned, it saves and is queued again, and then it continues to its end.

Stand-ins for srun and scontrol put each task on its node; the batch script itself runs beside the nodes.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.helpers.cluster import SCRIPT, Cluster, begun, options
from tests.helpers.commands import write_tool
from tests.helpers.processes import exit_codes, start, wait_until
from tests.helpers.toys import REPOSITORY, metrics

pytestmark = pytest.mark.multinode

SRUN = f"""
for option in "$@"; do case $option in -*) ;; *) break ;; esac; shift; done

for node in 1 2; do
    SLURM_NODEID=$((node - 1)) SLURM_PROCID=$((node - 1)) SLURM_STEP_NUM_TASKS=2 {SCRIPT} run $node "$@" &
    tasks="$tasks $!"
done
highest=0
for task in $tasks; do
    wait $task
    code=$?
    [ $code -le $highest ] || highest=$code
done
exit $highest
"""
SCONTROL = """
case $1 in
show) echo node-1; echo node-2 ;;
requeue) echo "$2" >>requeued ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that jobs start in, as the repository is."""
    for name in ("launch", "megatinybert", "ds_configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "bin").mkdir()
    write_tool(tmp_path / "bin" / "srun", SRUN)
    write_tool(tmp_path / "bin" / "scontrol", SCONTROL)
    return tmp_path


def sbatch(cluster: Cluster, folder: Path, words: list[str], **job: str) -> subprocess.Popen[str]:
    """As Slurm starts the script on the first machine of job 12345."""
    environment = cluster.environment(
        SLURM_JOB_ID="12345", SLURM_JOB_NODELIST="node-[1-2]", SLURM_NTASKS="2", SLURM_PROCID="0", **job
    )
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    return start(["sh", "launch/slurm/general.sbatch", *words], folder / "log", folder, **environment)


def test_a_warned_job_is_queued_again_and_continues(cluster: Cluster, toy_inputs: Path, folder: Path) -> None:
    steps = {"run.max_steps": 150, "run.held_out_interval": 1000}
    words = options(toy_inputs, folder, **steps)
    job = sbatch(cluster, folder, words)
    wait_until(lambda: begun(folder / "run"), [job], 480)
    cluster.signal(signal.SIGUSR1, 1, 2)
    assert exit_codes([job], seconds=60) == [0], (folder / "log").read_text()
    assert (folder / "requeued").read_text() == "12345\n"
    assert cluster.left_behind() == []
    before = len(metrics(folder / "run"))
    assert before < 150 and (folder / "slurm-12345-node-1.log").exists()

    job = sbatch(cluster, folder, words, SLURM_RESTART_COUNT="1")
    assert exit_codes([job], 480) == [0], (folder / "log").read_text()
    assert (folder / "requeued").read_text() == "12345\n"
    assert [int(row["step"]) for row in metrics(folder / "run")] == list(range(151))
    assert cluster.left_behind() == []
    print(f"saved at step {before - 1} on SIGUSR1, and continued to step 150")
