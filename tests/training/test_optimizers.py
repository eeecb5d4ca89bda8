"""AdamW by torch, apex and DeepSpeed: one update, the same decay, and the same run after a resumption."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.schema import OptimizerConfig
from megatinybert.runtime.dist import World
from megatinybert.training.optimizers import (
    build_optimizer,
    is_offloaded,
    parameter_groups,
    prepare_kernel,
    remove_stale_lock,
    set_learning_rate,
    updates_on_cpu,
)
from tests.helpers.apex_packages import write_nvidia
from tests.helpers.toys import REPOSITORY, environment

SCRIPT = "tests/scripts/updates.py"


def run_updates(folder: Path, ds_configs: Mapping[str, Any], implementations: list[str], **variables: str) -> None:
    """Run tests/scripts/updates.py with DeepSpeed configurations by name."""
    for name, content in ds_configs.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    command = [sys.executable, SCRIPT, str(folder), *implementations]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(**variables), capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_one_run(
    result: dict[str, Any], expected: dict[str, Tensor], bound: float, resumed_bound: float = 0.0
) -> None:
    """Resumed as if never stopped (to the bit, with a bound of 0), and `expected` but for rounding."""
    for name, weight in result["straight"].items():
        torch.testing.assert_close(result["resumed"][name], weight, rtol=resumed_bound, atol=resumed_bound)
        torch.testing.assert_close(weight, expected[name], rtol=bound, atol=bound, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def with_apex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs with torch, and with a stand-in that is like apex towards DeepSpeed (tests/helpers/apex_packages.py)."""
    folder = tmp_path_factory.mktemp("updates")
    ds_configs = {
        "stage0": {"zero_optimization": {"stage": 0}},
        "stage1": {"zero_optimization": {"stage": 1}},
        "stage2-bf16": {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}},
    }
    paths = os.pathsep.join([str(write_nvidia(folder / "packages")), str(REPOSITORY)])
    run_updates(folder, ds_configs, ["torch", "apex"], PYTHONPATH=paths)
    return folder


@pytest.mark.parametrize(
    ("name", "bound"),
    [("stage0", 1e-6), ("stage1", 1e-6), ("stage2-bf16", 1e-2)],  # a bf16 weight may be rounded to the other side
)
def test_deepspeed_takes_the_optimizer_of_apex_as_it_is(with_apex: Path, name: str, bound: float) -> None:
    by_torch, by_apex = (torch.load(with_apex / f"{name}-{by}.pt") for by in ("torch", "apex"))
    assert (by_torch["optimizer"], by_apex["optimizer"]) == ("AdamW", "FusedAdam")
    assert_one_run(by_torch, by_torch["straight"], bound)
    assert_one_run(by_apex, by_torch["straight"], bound)


@pytest.mark.slow
def test_deepspeeds_own_kernel_makes_the_same_update(tmp_path: Path) -> None:
    if not (shutil.which("g++") or shutil.which("c++")):
        pytest.skip("DeepSpeed's kernel needs a C++ compiler, and there is none")
    plain, offload = {"stage": 1}, {"stage": 2, "offload_optimizer": {"device": "cpu"}}
    ds_configs = {"plain": {"zero_optimization": plain}, "offload": {"zero_optimization": offload}}
    run_updates(tmp_path, ds_configs, ["deepspeed"], TORCH_EXTENSIONS_DIR=str(tmp_path / "extensions"))
    (tmp_path / "offload.json").unlink()
    run_updates(tmp_path, {"plain": ds_configs["plain"]}, ["torch"])
    expected = torch.load(tmp_path / "plain-torch.pt")["straight"]
    for name in ds_configs:
        result = torch.load(tmp_path / f"{name}-deepspeed.pt")
        assert result["optimizer"] == "DeepSpeedCPUAdam"
        # It keeps running powers of the betas, and computes them anew after a resumption: the last bit may differ.
        assert_one_run(result, expected, 1e-5, resumed_bound=1e-6)


def test_without_a_compiler_deepspeeds_kernel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import deepspeed.ops.adam

    def no_compiler(*_: object, **__: object) -> None:
        try:
            raise OSError("no g++ here")
        except OSError as error:
            raise RuntimeError("DeepSpeedCPUAdam requires the cpu_adam op, which failed to build/load.") from error

    monkeypatch.setattr(deepspeed.ops.adam, "DeepSpeedCPUAdam", no_compiler)
    groups = parameter_groups(nn.Linear(2, 2), 0.1)
    with pytest.raises(ValueError, match=r"--optimizer.implementation deepspeed: .* no g\+\+ here; it needs a C"):
        build_optimizer(groups, OptimizerConfig(), "deepspeed", on_cpu=True)


def test_vectors_are_not_decayed() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 3))
    decayed, rest = parameter_groups(model, 0.3)
    assert [tuple(p.shape) for p in decayed["params"]] == [(5, 4), (3, 4)]
    assert [tuple(p.shape) for p in rest["params"]] == [(4,), (4,), (3,)]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)


def test_weights_that_are_fixed_have_no_learning_rate() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    fixed = list(model[1].parameters())
    groups = parameter_groups(model, 0.3, fixed)
    assert [[tuple(p.shape) for p in group["params"]] for group in groups] == [[(3, 4)], [(3,)], [(2, 3), (2,)]]
    optimizer = build_optimizer(groups, OptimizerConfig(), "torch", on_cpu=True)
    before = [p.clone() for p in model.parameters()]
    for rate in (0.5, 0.25):
        set_learning_rate(optimizer.param_groups, rate)
        assert [group["lr"] for group in optimizer.param_groups] == [rate, rate, 0.0]
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
    same = [torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True)]
    assert same == [False, False, True, True]


@pytest.mark.parametrize(
    ("zero", "offloaded"),
    [
        ({}, False),
        ({"offload_optimizer": {"device": "none"}}, False),
        ({"offload_optimizer": {}}, True),
        ({"offload_optimizer": {"device": "nvme"}}, True),
    ],
)
def test_where_the_update_runs(zero: dict[str, Any], offloaded: bool) -> None:
    settings = DeepSpeedSettings({"zero_optimization": zero}, 2, "bf16", Path("ds.json"))
    assert is_offloaded(settings) is offloaded
    assert updates_on_cpu(settings, torch.device("cuda")) is offloaded
    assert updates_on_cpu(settings, torch.device("cpu"))


def test_a_lock_that_no_process_holds_is_removed(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not remove_stale_lock(lock)
    with lock.open("w"):
        assert not remove_stale_lock(lock), "a build goes on"
    assert lock.exists()
    assert remove_stale_lock(lock)
    assert not lock.exists()


def test_a_build_that_was_killed_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "cpu_adam").mkdir()
    (tmp_path / "cpu_adam" / "lock").touch()
    world = World(0, 1, torch.device("cpu"))
    prepare_kernel(OptimizerConfig(), "torch", True, world)
    assert capsys.readouterr().err == ""
    prepare_kernel(OptimizerConfig(), "deepspeed", True, world)
    said = capsys.readouterr().err
    assert f"removed {tmp_path / 'cpu_adam' / 'lock'}" in said
    assert "compiling DeepSpeed's optimizer kernel" in said
    assert not (tmp_path / "cpu_adam" / "lock").exists()
