"""One BERT layer opened: every intermediate tensor that a solved layer is fitted from or fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Trace:
    """What a layer computes. D width, H heads of width d, I inner width.

    queries, keys, values: (B, H, S, d). context: (B, S, H d), the weighted sums of the values, all heads side by side.
    attended: (B, S, D), before the first LayerNorm; attention: after it. inner: (B, S, I), before the activation.
    activated: after it. summed: (B, S, D), before the second LayerNorm; output: after it.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    context: Tensor
    attended: Tensor
    attention: Tensor
    inner: Tensor
    activated: Tensor
    summed: Tensor
    output: Tensor


def trace(layer: Any, states_BSD: Tensor, mask_BS: Tensor | None) -> Trace:
    """Run a BertLayer without dropout. mask_BS: bool, True at real tokens; None without padding."""
    own, norm = layer.attention.self, layer.attention.output.LayerNorm
    heads = own.num_attention_heads
    queries, keys, values = (split_heads(linear(states_BSD), heads) for linear in (own.query, own.key, own.value))
    mask = None if mask_BS is None else mask_BS[:, None, None, :]
    context_BHSd = nn.functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    context = context_BHSd.transpose(1, 2).flatten(2)
    attended = states_BSD + layer.attention.output.dense(context)
    attention = norm(attended)
    inner = layer.intermediate.dense(attention)
    activated = layer.intermediate.intermediate_act_fn(inner)
    summed = attention + layer.output.dense(activated)
    output = layer.output.LayerNorm(summed)
    return Trace(queries, keys, values, context, attended, attention, inner, activated, summed, output)


def split_heads(states_BSD: Tensor, heads: int) -> Tensor:
    """(B, S, H d) -> (B, H, S, d)."""
    return states_BSD.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(states_BHSd: Tensor) -> Tensor:
    """(B, H, S, d) -> (B, S, H d)."""
    return states_BHSd.transpose(1, 2).flatten(2)


def normalized(states_BSD: Tensor, norm: nn.LayerNorm) -> Tensor:
    """LayerNorm without its gain and bias."""
    return nn.functional.layer_norm(states_BSD, norm.normalized_shape, eps=norm.eps)


def real_rows(states: Tensor, mask_BS: Tensor | None) -> Tensor:
    """(B, S, D) -> (N, D), float64: the positions that are no padding."""
    flat = states.flatten(0, 1) if mask_BS is None else states[mask_BS]
    return flat.to(torch.float64)
