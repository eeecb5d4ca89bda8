"""One BERT layer opened: every intermediate tensor that a solved layer is fitted from or fitted to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn


class Trace:
    """What a BertLayer computes without dropout, each part when it is first asked for.

    mask_BS: bool, True at real tokens; None without padding. known: parts that were computed before, by name. D width,
    H heads of width d, I inner width.
    """

    def __init__(self, layer: Any, states_BSD: Tensor, mask_BS: Tensor | None, known: Mapping[str, Tensor]) -> None:
        self._layer, self._states_BSD, self._mask_BS = layer, states_BSD, mask_BS
        self._heads: int = layer.attention.self.num_attention_heads
        vars(self).update(known)  # where cached_property looks first

    @cached_property
    def queries(self) -> Tensor:
        """(B, H, S, d)."""
        return split_heads(self._layer.attention.self.query(self._states_BSD), self._heads)

    @cached_property
    def keys(self) -> Tensor:
        """(B, H, S, d)."""
        return split_heads(self._layer.attention.self.key(self._states_BSD), self._heads)

    @cached_property
    def values(self) -> Tensor:
        """(B, H, S, d)."""
        return split_heads(self._layer.attention.self.value(self._states_BSD), self._heads)

    @cached_property
    def context(self) -> Tensor:
        """(B, S, H d): the weighted sums of the values, all heads side by side."""
        mask = None if self._mask_BS is None else self._mask_BS[:, None, None, :]
        weighted = nn.functional.scaled_dot_product_attention(self.queries, self.keys, self.values, attn_mask=mask)
        return merge_heads(weighted)

    @cached_property
    def attended(self) -> Tensor:
        """(B, S, D): before the first LayerNorm."""
        return self._states_BSD + self._layer.attention.output.dense(self.context)

    @cached_property
    def attention(self) -> Tensor:
        """(B, S, D): after it."""
        states: Tensor = self._layer.attention.output.LayerNorm(self.attended)
        return states

    @cached_property
    def inner(self) -> Tensor:
        """(B, S, I): before the activation."""
        states: Tensor = self._layer.intermediate.dense(self.attention)
        return states

    @cached_property
    def activated(self) -> Tensor:
        """(B, S, I): after it."""
        states: Tensor = self._layer.intermediate.intermediate_act_fn(self.inner)
        return states

    @cached_property
    def summed(self) -> Tensor:
        """(B, S, D): before the second LayerNorm."""
        return self.attention + self._layer.output.dense(self.activated)

    @cached_property
    def output(self) -> Tensor:
        """(B, S, D): after it."""
        states: Tensor = self._layer.output.LayerNorm(self.summed)
        return states


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
