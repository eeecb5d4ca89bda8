"""Muon beside AdamW: which weights, the update itself, and the same run after a resumption."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from megatinybert.config.load import load_config
from megatinybert.config.schema import OptimizerConfig
from megatinybert.models.configuration import read_bert_config
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.engine import build_engine
from megatinybert.training.export import full_weights
from megatinybert.training.muon import MuonWithAdamW, layer_matrices
from megatinybert.training.optimizers import build_optimizer, parameter_groups, set_learning_rate
from megatinybert.training.precision import settle_settings
from megatinybert.training.trainee import Trainee, build_trainee
from tests.helpers.toys import recipe

MUON: dict[str, object] = {"optimizer.name": "muon"}
RATES = (1e-2, 5e-3, 2e-3, 1e-3)


@pytest.fixture
def trainee(toy_inputs: Path) -> Trainee:
    config = load_config(recipe(toy_inputs, **MUON))
    return build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))


def gradients(model: nn.Module, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=draw)


def test_the_matrices_of_the_layers_are_muons_and_no_others(trainee: Trainee) -> None:
    names = {id(parameter): name for name, parameter in trainee.named_parameters()}
    by_muon = layer_matrices(trainee.student)
    ends = {names[id(matrix)].split(".", 4)[-1] for matrix in by_muon}
    attention = {f"attention.self.{part}.weight" for part in ("query", "key", "value")}
    assert ends == {*attention, *(f"{part}.dense.weight" for part in ("attention.output", "intermediate", "output"))}
    assert len(by_muon) == 6 * trainee.student.config.num_hidden_layers
    first, *others = parameter_groups(trainee, 0.1, (), by_muon)
    assert [names[id(p)] for p in first["params"]] == [names[id(p)] for p in by_muon]
    rest = [id(p) for group in others for p in group["params"]]
    assert sorted([*rest, *map(id, by_muon)]) == sorted(names)  # each once


@pytest.mark.parametrize(("products", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_an_update_is_the_momentum_without_its_singular_values(products: torch.dtype, bound: float) -> None:
    """W - rate (0.2 sqrt(max(rows, columns)) U V^T + decay W) with U S V^T the singular value decomposition; five steps
    of the iteration leave singular values of 0.68 to 1.13 in place of 1 (Jordan et al. 2024).
    """
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(24, 64, dtype=torch.float32))
    before = weight.detach().double()
    groups = [MuonWithAdamW.group([weight], 0.1), {"params": [nn.Parameter(torch.zeros(3))], "weight_decay": 0.0}]
    optimizer = build_optimizer(groups, OptimizerConfig(name="muon", learning_rate=1e-2), "torch", True, products)
    weight.grad = torch.randn(24, 64)
    gradient = weight.grad.double()
    optimizer.step()
    found = (before * (1 - 1e-2 * 0.1) - weight.detach().double()) / (1e-2 * 0.2 * math.sqrt(64))
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    inside = u.T @ found @ v.T  # in the coordinates of the gradient: a diagonal of about 1
    assert (inside - torch.diag(inside.diagonal())).abs().max() < bound
    assert inside.diagonal().min() > 0.6 and inside.diagonal().max() < 1.2


def test_both_parts_take_the_steps_that_they_take_alone(trainee: Trainee) -> None:
    model, alone = trainee.student, copy.deepcopy(trainee.student)
    config = OptimizerConfig(
        name="muon", learning_rate=1.0, betas=(0.8, 0.9), eps=1e-5, weight_decay=0.2, muon_factor=2.0
    )
    groups = parameter_groups(model, 0.2, by_muon=layer_matrices(model))
    optimizer = build_optimizer(groups, config, "torch", on_cpu=True, products=torch.bfloat16)
    first, *others = parameter_groups(alone, 0.2, by_muon=layer_matrices(alone))
    muon = torch.optim.Muon(first["params"], weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(others, betas=(0.8, 0.9), eps=1e-5, fused=True)
    for step, rate in enumerate(RATES):
        gradients(model, step)
        gradients(alone, step)
        set_learning_rate(optimizer.param_groups, rate)
        set_learning_rate(muon.param_groups, 2.0 * rate)
        set_learning_rate(adamw.param_groups, rate)
        for each in (optimizer, muon, adamw):
            each.step()
    for (name, weight), expected in zip(model.named_parameters(), alone.parameters(), strict=True):
        assert torch.equal(weight, expected), name


def trainees_of(inputs: Path, world: World) -> Trainees:
    config = load_config(recipe(inputs, deepspeed="auto", **MUON))
    built = build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))
    settings = settle_settings(config, world.size, False, world)
    assert settings.stage == 0  # by auto
    return Trainees({"student": build_engine(built, config.optimizer, settings)})


def train(trainees: Trainees, first: int, last: int) -> dict[str, Tensor]:
    engine = trainees.only
    for step in range(first, last):
        set_learning_rate(engine.optimizer.param_groups, RATES[step])
        gradients(engine.module, step)
        engine.optimizer.step()
    return full_weights(engine, engine.module)


def test_a_resumed_run_is_the_same_bit_for_bit(toy_inputs: Path, world: World, tmp_path: Path) -> None:
    straight = trainees_of(toy_inputs, world)
    train(straight, 0, 2)
    checkpoint.save(tmp_path, straight, 2, {}, world, keep=1)
    expected = train(straight, 2, 4)
    resumed = trainees_of(toy_inputs, world)
    checkpoint.load(tmp_path / "step-00000002", resumed)
    found = train(resumed, 2, 4)
    for each in (straight, resumed):
        each.destroy()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
