"""How ranks of one machine share it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.helpers.toys import REPOSITORY, environment, free_port, metrics, recipe


def test_two_ranks_do_not_hinder_one_another(toy_inputs: Path, tmp_path: Path) -> None:
    """Where nobody says how many threads a rank may have, the check of threads has nothing to warn of."""
    variables = environment()
    del variables["OMP_NUM_THREADS"]
    launcher = ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port()), "launch/general.sh"]
    command = [*launcher, *recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.max_steps": 1})]
    done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 rank(s) on cpu" in done.stderr and "warning: threads" not in done.stderr
    assert metrics(tmp_path)[-1]["step"] == 1


def test_a_pod_of_one_rank_is_completed_and_torchrun_understood() -> None:
    pod = {"RANK": "3", "WORLD_SIZE": "4"}
    dist._complete(pod)
    assert pod == {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_SIZE": "1"}
    torchrun = {"RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    dist._complete(torchrun)
    assert torchrun["LOCAL_RANK"] == "1" and torchrun["LOCAL_SIZE"] == "2"


def test_a_rank_sees_the_gpus_that_its_person_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEGATINYBERT_DEVICES", "GPU-11aa,GPU-22bb")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")  # as the launcher counts
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    dist.choose_accelerator()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-11aa,GPU-22bb"
    monkeypatch.delenv("DS_ACCELERATOR")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"no GPU for its rank 2, but 2 in all .*GPU-11aa,GPU-22bb"):
        dist.choose_accelerator()
