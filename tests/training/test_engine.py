"""The engine of one rank at ZeRO stage 0, which has no gradients to sum."""

from __future__ import annotations

from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from megatinybert.config.load import load_config
from megatinybert.models.configuration import read_bert_config
from megatinybert.runtime.dist import World
from megatinybert.training.engine import build_engine
from megatinybert.training.precision import settle_settings
from megatinybert.training.trainee import build_trainee
from tests.helpers.toys import recipe


def engine_of(inputs: Path, world: World) -> DeepSpeedEngine:
    config = load_config(recipe(inputs, deepspeed="zero0", **{"run.micro_batch": 8}))
    trainee = build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))
    return build_engine(trainee, config.optimizer, settle_settings(config, world.size, False, world))


def step(engine: DeepSpeedEngine, idle: str) -> dict[str, Tensor]:
    """The weights after a step in which all but `idle` have a gradient."""
    used = (weight for name, weight in engine.module.named_parameters() if name != idle and weight.requires_grad)
    engine.module.forward = lambda: sum((weight.square().sum() for weight in used), torch.zeros(()))
    engine.backward(engine())
    engine.step()
    return {name: weight.detach().clone() for name, weight in engine.module.named_parameters()}


def test_a_rank_alone_copies_no_gradients_and_gets_the_same_bits(toy_inputs: Path, world: World) -> None:
    ours, plain = engine_of(toy_inputs, world), engine_of(toy_inputs, world)
    del plain.allreduce_and_copy  # DeepSpeed's own again
    copied: list[int] = []
    for engine in (ours, plain):
        engine.flatten = lambda tensors: copied.append(len(tensors)) or torch._utils._flatten_dense_tensors(tensors)
    idle = next(name for name, weight in ours.module.named_parameters() if weight.ndim > 1)
    found = step(ours, idle)
    assert not copied
    expected = step(plain, idle)
    assert len(copied) == 1
    before = dict(engine_of(toy_inputs, world).module.named_parameters())
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    assert not torch.equal(found[idle], before[idle])  # weight decay, as on several ranks
