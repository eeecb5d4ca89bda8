"""Muon for the matrices of a student's layers, AdamW for all else, as one optimizer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from megatinybert.config.schema import OptimizerConfig

_BY_MUON = "by_muon"  # marks the group that Muon updates
_MOMENTUM = "momentum_buffer"  # of a weight's state, as torch.optim.Muon calls it
_DECAY = 0.95  # of the momentum
_COEFFICIENTS, _STEPS = (3.4445, -4.7750, 2.0315), 5
_LEAST_NORM = 1e-7
RATE_FACTOR = "rate_factor"  # of a group: what the run's learning rate is multiplied by; 1 where it is not there


def layer_matrices(student: PreTrainedModel) -> list[nn.Parameter]:
    """The weights of the linear maps within a BERT's layers, in whatever model it stands."""
    bert: Any = student.base_model
    maps = (part for part in bert.encoder.layer.modules() if isinstance(part, nn.Linear))
    return [weight for part in maps for weight in part.parameters() if weight.ndim == 2 and weight.requires_grad]


class MuonWithAdamW(torch.optim.Optimizer):
    """Updates groups with BY_MUON by Muon, the others by torch.optim.AdamW.

    Muon is of Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/). An update is the momentum (Nesterov's)
    with all its singular values brought near 1, times 0.2 sqrt(max(rows, columns)): the root mean square of AdamW's
    updates (Liu et al. 2025, arXiv:2502.16982, section 2.2), times `config.muon_factor`. It needs whole matrices.

    products: what `orthogonalized` computes in. torch.optim.Muon, the same in bfloat16 alone, is twenty times slower on
    processors that do not compute in it.
    """

    def __init__(self, groups: list[dict[str, Any]], config: OptimizerConfig, products: torch.dtype) -> None:
        self._products = products
        constants: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        by_muon = [group for group in groups if group.get(_BY_MUON)]
        for group in by_muon:
            group[RATE_FACTOR] = config.muon_factor
        # Its own groups are in place before super().__init__ adds to these what only it knows.
        self._adamw = torch.optim.AdamW(
            [group for group in groups if not group.get(_BY_MUON)],
            betas=config.betas,
            eps=config.eps,
            fused=True,
            **constants,
        )
        super().__init__([*by_muon, *self._adamw.param_groups], {_BY_MUON: False, **constants})

    @staticmethod
    def group(matrices: list[nn.Parameter], weight_decay: float) -> dict[str, Any]:
        """The group of the matrices that Muon is to update."""
        return {"params": matrices, "weight_decay": weight_decay, _BY_MUON: True}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            if group[_BY_MUON]:
                self._update(group)
        # Loading a checkpoint replaces both
        self._adamw.param_groups = [group for group in self.param_groups if not group[_BY_MUON]]
        self._adamw.state = self.state
        self._adamw.step()

    def _update(self, group: dict[str, Any]) -> None:
        rate = group["lr"]
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state[_MOMENTUM] = torch.zeros_like(weight.grad)
            momentum = state[_MOMENTUM]
            momentum.lerp_(weight.grad, 1 - _DECAY)
            update = orthogonalized(weight.grad.lerp(momentum, _DECAY), self._products)
            weight.mul_(1 - rate * group["weight_decay"])
            weight.add_(update, alpha=-rate * 0.2 * math.sqrt(max(weight.shape)))


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """U V^T, nearly, of a matrix U S V^T: (rows, columns) of dtype, with singular values of 0.68 to 1.13.

    By five steps of the quintic Newton-Schulz iteration X <- a X + (b A + c A^2) X, A = X X^T, with Jordan's
    coefficients.
    """
    a, b, c = _COEFFICIENTS
    tall = matrix.size(0) > matrix.size(1)
    x = (matrix.T if tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=_LEAST_NORM)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
