"""What a run uses where there is a choice: asked for, remembered by the checkpoint, measured, or torch's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from megatinybert.config.deepspeed import DeepSpeedSettings, Precision
from megatinybert.config.load import ConfigError, GeneralConfig, load_config
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints.checkpoint import newest, read_state
from megatinybert.training.choices import Choice, Choices, check_choices, choose_implementations
from tests.helpers.apex_packages import write_namesake, write_nvidia
from tests.helpers.toys import recipe
from tests.scripts.golden import golden_options

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ALONE = World(0, 1, CPU)


def settings(stage: int = 1, precision: Precision = "fp32", **raw: Any) -> DeepSpeedSettings:
    return DeepSpeedSettings({"zero_optimization": {"stage": stage}} | raw, stage, precision, Path("ds.json"))


def configured(inputs: Path, **overrides: object) -> GeneralConfig:
    return load_config(recipe(inputs, **overrides))


def refusal(config: GeneralConfig, device: torch.device = CUDA, **more: Any) -> str:
    recorded = more.pop("recorded", {})
    with pytest.raises(ValueError) as caught:
        check_choices(config, more.pop("settings", settings()), device, recorded)
    return str(caught.value)


def test_torch_is_the_default(toy_inputs: Path) -> None:
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(), {})
    assert chosen == Choices(Choice("torch", "default"), Choice("torch", "default"))
    assert str(chosen) == (
        "optimizer by torch (default), LayerNorm by torch (default), models run without torch.compile (default)"
    )
    assert chosen.facts == {
        "optimizer.implementation": "torch",
        "student.layer_norm": "torch",
        "run.compile": "never",
    }


def test_a_continued_run_takes_what_its_checkpoint_remembers(toy_inputs: Path) -> None:
    config = configured(toy_inputs)
    recorded = {"optimizer.implementation": "apex", "student.layer_norm": "torch", "run.seed": 0}
    chosen = choose_implementations(config, settings(), recorded)
    assert chosen == Choices(Choice("apex", "as in the checkpoint"), Choice("torch", "as in the checkpoint"))
    asked_for = configured(toy_inputs, **{"optimizer.implementation": "torch", "student.layer_norm": "apex"})
    chosen = choose_implementations(asked_for, settings(), recorded)
    assert chosen.facts | {"run.compile": ""} == {
        "optimizer.implementation": "torch",
        "student.layer_norm": "apex",
        "run.compile": "",
    }


def test_asking_for_apex_where_its_namesake_is_installed(
    install_apex: Callable[[Path], None],
    toy_inputs: Path,
    tmp_path: Path,
) -> None:
    install_apex(write_namesake(tmp_path))
    asked_for = configured(toy_inputs, **{"optimizer.implementation": "apex", "student.layer_norm": "apex"})
    message = refusal(asked_for)
    for part in ("--optimizer.implementation apex (asked for)", "--student.layer_norm apex", "pip uninstall apex"):
        assert part in message
    remembered = refusal(configured(toy_inputs), recorded={"student.layer_norm": "apex"})
    assert "--student.layer_norm apex (as in the checkpoint)" in remembered and "Pyramid" in remembered


def test_asking_for_apex_where_it_does_not_go(
    install_apex: Callable[[Path], None],
    toy_inputs: Path,
    tmp_path: Path,
) -> None:
    install_apex(write_nvidia(tmp_path))
    config = configured(toy_inputs, **{"optimizer.implementation": "apex", "student.layer_norm": "apex"})
    check_choices(config, settings(2), CUDA, {})
    assert refusal(config, CPU).count("needs a CUDA device; this run is on cpu") == 2
    assert "stage 3 of --deepspeed ds.json" in refusal(config, settings=settings(3))


def test_an_offloaded_update_is_deepspeeds(toy_inputs: Path) -> None:
    offloaded = settings(2, zero_optimization={"stage": 2, "offload_optimizer": {"device": "cpu"}})
    config = configured(toy_inputs)
    chosen = choose_implementations(config, offloaded, {})
    assert chosen.optimizer == Choice("deepspeed", "for offload_optimizer")
    torchs = configured(toy_inputs, **{"optimizer.implementation": "torch"})
    assert "does not go with offload_optimizer of --deepspeed ds.json" in refusal(torchs, settings=offloaded)
    offloaded.raw["zero_force_ds_cpu_optimizer"] = False
    check_choices(torchs, offloaded, CUDA, {})


def test_sgd_has_no_implementations(toy_inputs: Path) -> None:
    sgd = {"optimizer.name": "sgd"}
    with pytest.raises(
        ConfigError, match="--optimizer.implementation apex .* has no effect beside --optimizer.name sgd"
    ):
        configured(toy_inputs, **sgd, **{"optimizer.implementation": "apex"})
    config = configured(toy_inputs, **sgd)
    assert choose_implementations(config, settings(), {}).optimizer.by == "torch"


def test_muon_has_no_implementations(toy_inputs: Path) -> None:
    with pytest.raises(
        ConfigError, match="--optimizer.implementation torch .* has no effect beside --optimizer.name muon"
    ):
        configured(toy_inputs, **{"optimizer.name": "muon", "optimizer.implementation": "torch"})


def test_a_run_notes_its_choices_and_its_checkpoint_remembers_them(golden_run: Path) -> None:
    expected = {"optimizer.implementation": "torch", "student.layer_norm": "torch", "run.compile": "never"}
    assert yaml.safe_load((golden_run / "config.yaml").read_text())["environment"]["kernels"] == expected
    _, facts = read_state(newest(golden_run / "checkpoints")[0] or Path())
    assert facts.items() >= expected.items()


def test_a_run_is_not_continued_by_another_implementation(toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    shutil.copytree(golden_run, tmp_path / "run")
    config = load_config([*golden_options(toy_inputs, tmp_path / "run"), "--optimizer.implementation", "deepspeed"])
    with pytest.raises(ValueError, match="optimizer.implementation: torch there, deepspeed now"):
        distil(config, ALONE)
