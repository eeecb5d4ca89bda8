"""Muon for the matrices of a student's layers, AdamW for all else, as one optimizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from megatinybert.config.schema import OptimizerConfig

_BY_MUON = "by_muon"  # marks the group that Muon updates
RATE_FACTOR = "rate_factor"  # of a group: what the run's learning rate is multiplied by; 1 where it is not there


def layer_matrices(student: PreTrainedModel) -> list[nn.Parameter]:
    """The weights of the linear maps within a BERT's layers, in whatever model it stands."""
    bert: Any = student.base_model
    maps = (part for part in bert.encoder.layer.modules() if isinstance(part, nn.Linear))
    return [weight for part in maps for weight in part.parameters() if weight.ndim == 2 and weight.requires_grad]


class MuonWithAdamW(torch.optim.Optimizer):
    """Updates groups with BY_MUON by torch.optim.Muon (Jordan et al. 2024), the others by torch.optim.AdamW.

    An update of Muon is the momentum with all its singular values brought near 1 by five steps of a Newton-Schulz
    iteration in bfloat16, times 0.2 sqrt(max(rows, columns)): the root mean square of AdamW's updates (Liu et al. 2025,
    arXiv:2502.16982, section 2.2), times `config.muon_factor`. It needs whole matrices.
    """

    def __init__(self, groups: list[dict[str, Any]], config: OptimizerConfig) -> None:
        constants: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
        for group in groups:
            if group.get(_BY_MUON):
                group[RATE_FACTOR] = config.muon_factor
        # Their own groups are in place before super().__init__ adds to these what only it knows.
        self._muon = torch.optim.Muon(
            [group for group in groups if group.get(_BY_MUON)], adjust_lr_fn="match_rms_adamw", **constants
        )
        self._adamw = torch.optim.AdamW(
            [group for group in groups if not group.get(_BY_MUON)],
            betas=config.betas,
            eps=config.eps,
            fused=True,
            **constants,
        )
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {_BY_MUON: False})

    @staticmethod
    def group(matrices: list[nn.Parameter], weight_decay: float) -> dict[str, Any]:
        """The group of the matrices that Muon is to update."""
        return {"params": matrices, "weight_decay": weight_decay, _BY_MUON: True}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for part, by_muon in ((self._muon, True), (self._adamw, False)):
            # Loading a checkpoint replaces both
            part.param_groups = [group for group in self.param_groups if group[_BY_MUON] is by_muon]
            part.state = self.state
            part.step()
