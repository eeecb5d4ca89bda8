"""Train a toy with each implementation of AdamW under DeepSpeed, once straight through and once resumed halfway.

    PYTHONPATH=. python tests/scripts/updates.py FOLDER IMPLEMENTATION...

For each FOLDER/NAME.json, a DeepSpeed configuration, and each implementation it writes FOLDER/NAME-IMPLEMENTATION.pt:
{"straight": weights after 4 steps, "resumed": the same, "optimizer": its class}.
"""

from __future__ import annotations

import pathlib
import sys

import torch
from torch import Tensor, nn

from megatinybert.runtime import dist
from megatinybert.runtime.trainees import Trainees

WORLD = dist.start()

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import GeneralConfig
from megatinybert.config.schema import OptimizerConfig
from megatinybert.objectives.base import Objective
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.choices import Choice, Choices
from megatinybert.training.engine import build_engine

STEPS = 4


class Toy(nn.Module):
    """Its forward is a loss, like a Trainee's. Matrices are decayed here, vectors are not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.student = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 4))
        self.objective = Objective()

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = inputs.to(self.student[0].weight.dtype)
        return (self.student(inputs).float() - 1).square().mean()


def engine(implementation: str, ds_config: str) -> DeepSpeedEngine:
    config = GeneralConfig.model_validate(
        {
            "teacher": {"model": "t"},
            "data": {"shards": "d"},
            "optimizer": {"name": "adamw"},
            "run": {"global_batch": 1, "micro_batch": 1},
        }
    )
    optimizer = OptimizerConfig(learning_rate=1e-2, weight_decay=0.3)
    choices = Choices(optimizer=Choice(implementation, "asked for"))
    return build_engine(Toy(), optimizer, load_ds_config(ds_config, config, WORLD.size), choices)


def train(toy: DeepSpeedEngine, first: int, last: int) -> None:
    for step in range(first, last):
        for group in toy.optimizer.param_groups:
            group["lr"] = 1e-2 / (step + 1)
        torch.manual_seed(step)
        toy.backward(toy(torch.randn(5, 8)))
        toy.step()


def weights(toy: DeepSpeedEngine) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in toy.module.named_parameters()}


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    for ds_config in sorted(folder.glob("*.json")):
        for implementation in sys.argv[2:]:
            name = f"{ds_config.stem}-{implementation}"
            straight = engine(implementation, str(ds_config))
            train(straight, 0, STEPS // 2)
            checkpoint.save(folder / name, Trainees({"student": straight}), STEPS // 2, {}, WORLD, keep=1)
            train(straight, STEPS // 2, STEPS)
            resumed = engine(implementation, str(ds_config))
            start, _ = checkpoint.newest(folder / name)
            assert start is not None
            checkpoint.load(start, Trainees({"student": resumed}))
            train(resumed, STEPS // 2, STEPS)
            optimizer = type(straight.basic_optimizer).__name__
            result = {"straight": weights(straight), "resumed": weights(resumed), "optimizer": optimizer}
            torch.save(result, folder / f"{name}.pt")
    dist.stop()


if __name__ == "__main__":
    main()
