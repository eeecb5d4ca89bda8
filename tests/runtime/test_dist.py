"""How ranks of one machine share it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from megatinybert.runtime import dist
from tests.helpers.toys import REPOSITORY, environment, free_port, metrics, recipe


@pytest.mark.parametrize(
    ("variables", "threads"),
    [({}, 8), ({"LOCAL_SIZE": "2"}, 4), ({"LOCAL_SIZE": "3"}, 2), ({"LOCAL_SIZE": "16"}, 1)],
)
def test_ranks_share_the_threads(variables: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    for name in ("LOCAL_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    dist.share_threads()
    assert set_to == [threads]
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    dist.share_threads()
    assert set_to == [threads]  # as the person says


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
