"""How ranks of one machine share it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from megatinybert.runtime import dist
from tests.helpers.toys import REPOSITORY, environment, free_port, metrics, recipe


def test_two_ranks_do_not_hinder_one_another(toy_inputs: Path, tmp_path: Path) -> None:
    """Where nobody says how many threads a rank may have, the check of threads has nothing to warn of."""
    variables = environment()
    del variables["OMP_NUM_THREADS"]
    launcher = ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port()), "launch/general.sh"]
    command = [*launcher, *recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.max_steps": 1})]
    done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 ranks on cpu" in done.stderr and "warning: threads" not in done.stderr
    assert metrics(tmp_path)[-1]["step"] == 1


def test_a_pod_of_one_rank_is_completed() -> None:
    pod = {"RANK": "3", "WORLD_SIZE": "4"}
    dist._complete(pod)
    assert pod == {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_SIZE": "1"}
