"""What a run uses where there is a choice: asked for, remembered by the checkpoint, measured, or torch's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from megatinybert.config.deepspeed import DeepSpeedSettings, Precision
from megatinybert.config.load import ConfigError, GeneralConfig, load_config
from megatinybert.models.configuration import read_bert_config
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training import choices
from megatinybert.training.checkpoint import newest, read_state
from megatinybert.training.choices import Choice, Choices, check_choices, choose_implementations
from megatinybert.training.trainee import Trainee, build_trainee
from tests.helpers.apex_packages import write_namesake, write_nvidia
from tests.helpers.toys import recipe
from tests.scripts.golden import golden_options

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
ALONE = World(0, 1, CPU)


def settings(stage: int = 1, precision: Precision = "fp32", **raw: Any) -> DeepSpeedSettings:
    return DeepSpeedSettings({"zero_optimization": {"stage": stage}} | raw, stage, precision, Path("ds.json"))


def configured(inputs: Path, **overrides: object) -> GeneralConfig:
    return load_config(recipe(inputs, **overrides))


def trainee_of(config: GeneralConfig) -> Trainee:
    return build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))


def refusal(config: GeneralConfig, device: torch.device = CUDA, **more: Any) -> str:
    recorded = more.pop("recorded", {})
    with pytest.raises(ValueError) as caught:
        check_choices(config, more.pop("settings", settings()), device, recorded)
    return str(caught.value)


@pytest.fixture
def measurable(install_apex: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of apex, and a CPU that is measured as if it were a GPU."""
    install_apex(write_nvidia(tmp_path / "packages"))
    monkeypatch.setattr(choices, "_apex_everywhere", lambda world: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def times(monkeypatch: pytest.MonkeyPatch, *medians: dict[str, float]) -> list[dict[str, Callable[[], object]]]:
    """Have the measurements say `medians`, one after another: the candidates that they were given, each called once."""
    asked: list[dict[str, Callable[[], object]]] = []

    def measured(candidates: Mapping[str, Callable[[], object]], *_: object, **__: object) -> dict[str, float]:
        for call in candidates.values():
            call()
        asked.append(dict(candidates))
        return medians[len(asked) - 1]

    monkeypatch.setattr(choices, "median_seconds", measured)
    return asked


def test_on_a_cpu_torch_is_taken_without_measuring(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch)
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(), trainee_of(config), 4, ALONE, {})
    assert chosen == Choices(Choice("torch", "default"), Choice("torch", "default"))
    assert str(chosen) == "optimizer by torch (default), LayerNorm by torch (default), torch.compile never (default)"
    assert chosen.facts == {
        "optimizer.implementation": "torch",
        "student.layer_norm": "torch",
        "run.compile": "never",
    }
    assert not asked


@pytest.mark.usefixtures("measurable")
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_faster_is_taken_each_time(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    asked = times(monkeypatch, {"torch": 2e-3, "apex": 1e-3}, {"torch": 1e-3, "apex": 0.97e-3})
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(stage), trainee_of(config), 4, ALONE, {})
    assert chosen.optimizer == Choice("apex", "measured: torch 2.000 ms, apex 1.000 ms")
    assert chosen.layer_norm.by == "torch"  # 3 % may be noise
    assert [set(candidates) for candidates in asked] == [{"torch", "apex"}] * 2


@pytest.mark.usefixtures("measurable")
def test_the_measured_tensors_are_those_of_the_run(toy_inputs: Path) -> None:
    config = configured(toy_inputs)
    trainee = trainee_of(config)
    parameters = sum(parameter.numel() for parameter in trainee.parameters())
    for stage, ranks, tensors in ((0, 1, len(list(trainee.parameters()))), (1, 1, 2), (2, 2, 2)):
        updates = choices._updates(trainee, config.optimizer, settings(stage), World(0, ranks, CPU))
        for step in updates.values():
            sizes = [p.numel() for group in step.__self__.param_groups for p in group["params"]]  # type: ignore
            assert len(sizes) == tensors
            assert 0 <= ranks * sum(sizes) - parameters <= ranks


@pytest.mark.usefixtures("measurable")
def test_at_stage_3_the_update_is_not_measured(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch, {"torch": 1e-3, "apex": 0.5e-3})
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(3), trainee_of(config), 4, ALONE, {})
    assert (chosen.optimizer.by, chosen.layer_norm.by) == ("torch", "apex")
    assert len(asked) == 1


@pytest.mark.usefixtures("measurable")
def test_kernels_that_fail_are_not_taken(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_image(*_: object, **__: object) -> dict[str, float]:
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(choices, "median_seconds", no_image)
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(), trainee_of(config), 4, ALONE, {})
    assert chosen.optimizer == chosen.layer_norm == Choice("torch", "apex fails here")
    assert "no kernel image" in capsys.readouterr().err


@pytest.mark.usefixtures("measurable")
def test_other_ranks_do_not_measure_and_follow_rank_0(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch)
    of_rank_0 = torch.tensor([2e-3, 1e-3], dtype=torch.float64)
    monkeypatch.setattr(World, "sum", lambda self, own: own + of_rank_0)
    config = configured(toy_inputs)
    chosen = choose_implementations(config, settings(), trainee_of(config), 4, World(1, 2, CPU), {})
    assert (chosen.optimizer.by, chosen.layer_norm.by) == ("apex", "apex")
    assert not asked


def test_apex_must_be_there_on_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    real_tensor = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda value, device: real_tensor(value))  # no CUDA here
    for usable, expected in ((2.0, True), (1.0, False)):

        def of_all(self: World, own: Tensor, usable: float = usable) -> Tensor:
            return real_tensor(usable)

        monkeypatch.setattr(World, "sum", of_all)
        assert choices._apex_everywhere(World(0, 2, CUDA)) is expected
    assert not choices._apex_everywhere(ALONE)


@pytest.mark.usefixtures("measurable")
def test_a_continued_run_takes_what_its_checkpoint_remembers(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = times(monkeypatch)
    config = configured(toy_inputs)
    recorded = {"optimizer.implementation": "apex", "student.layer_norm": "torch", "run.seed": 0}
    chosen = choose_implementations(config, settings(), trainee_of(config), 4, ALONE, recorded)
    assert chosen == Choices(Choice("apex", "as in the checkpoint"), Choice("torch", "as in the checkpoint"))
    asked_for = configured(toy_inputs, **{"optimizer.implementation": "torch", "student.layer_norm": "apex"})
    chosen = choose_implementations(asked_for, settings(), trainee_of(config), 4, ALONE, recorded)
    assert chosen.facts | {"run.compile": ""} == {
        "optimizer.implementation": "torch",
        "student.layer_norm": "apex",
        "run.compile": "",
    }
    assert not asked


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
    chosen = choose_implementations(config, offloaded, trainee_of(config), 4, ALONE, {})
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
    assert choose_implementations(config, settings(), trainee_of(config), 4, ALONE, {}).optimizer.by == "torch"


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
