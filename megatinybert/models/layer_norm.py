"""LayerNorm by NVIDIA apex's kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ApexLayerNorm(nn.LayerNorm):
    """nn.LayerNorm, computed by the function behind apex.normalization.FusedLayerNorm. For CUDA tensors.

    Names, shapes and first values of the weights are torch's, so a state dict fits both. The result has the dtype of
    the weights: apex alone would go to 16 bits under autocast, where torch keeps LayerNorm, and with it the residual
    stream and the hidden states that are compared, in float32. As input and weights have one dtype here, apex's
    MixedFusedLayerNorm, which is for those that differ, would compute the same.
    """

    def __init__(self, normalized_shape: Any, eps: float, **options: Any) -> None:
        """options: device and dtype, as nn.LayerNorm takes them."""
        from apex.normalization.fused_layer_norm import fused_layer_norm_affine

        super().__init__(normalized_shape, eps, **options)
        self._kernel = fused_layer_norm_affine

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            same_dtype = input.to(self.weight.dtype)
            return self._kernel(same_dtype, self.weight, self.bias, self.normalized_shape, self.eps)


def use_apex_layer_norm(model: nn.Module) -> None:
    """Replace every nn.LayerNorm in `model`; the new modules hold the same parameters under the same names."""
    for name, old in list(model.named_modules()):
        if type(old) is nn.LayerNorm:
            new = ApexLayerNorm(old.normalized_shape, old.eps)
            new.weight, new.bias = old.weight, old.bias
            model.set_submodule(name, new)
