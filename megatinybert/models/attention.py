"""Scaled-dot-product attention in the fastest form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward

# Below this length, torch's attention on a CPU has a faster backward pass in float32 than in bfloat16 (widths of heads
# and lengths: benchmarks/README.md, "The student's attention on a CPU").
_FLOAT32_BELOW = 256 if torch.cpu._is_amx_tile_supported() else 512
# What head widths have to be a multiple of on CUDA: any other has no kernel there in float32 or with a mask, and falls
# back to one that holds the scores (`check_head_dim_size_mem_efficient` in PyTorch's sdp_utils.cpp).
_CUDA_MULTIPLE = 8


def attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """query, key, value: (B, H, S, D / H) each -> (context in query's dtype, (B, S, H, D / H); None, for the weights).

    mask and kwargs: as Transformers gives them to the attention of a model.
    """
    if _needs_padding(query):
        return _padded_attention(module, query, key, value, mask, **kwargs)
    if not _is_faster_in_float32(query):
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    with torch.autocast("cpu", enabled=False):  # it would narrow them again
        wide = query.float(), key.float(), value.float()
        context, weights = sdpa_attention_forward(module, *wide, mask, **kwargs)
    return context.to(query.dtype), weights


def _padded_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    """The same in heads that are filled up with zeros, which change no score and are cut off the result."""
    width = query.shape[-1]
    if kwargs.get("scaling") is None:
        kwargs["scaling"] = width**-0.5  # not that of the filled-up width
    missing = -width % _CUDA_MULTIPLE
    query, key, value = (functional.pad(tensor, (0, missing)) for tensor in (query, key, value))
    context_BSHD, weights = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    return context_BSHD[..., :width], weights


def _needs_padding(query_BHSD: Tensor) -> bool:
    return query_BHSD.device.type == "cuda" and query_BHSD.shape[-1] % _CUDA_MULTIPLE != 0


def _is_faster_in_float32(query_BHSD: Tensor) -> bool:
    trained_in_bf16 = query_BHSD.dtype == torch.bfloat16 and query_BHSD.requires_grad
    short_on_cpu = query_BHSD.device.type == "cpu" and query_BHSD.shape[2] < _FLOAT32_BELOW
    return trained_in_bf16 and short_on_cpu
