"""The published step to compare with: score matrices from eager attention, losses as the paper writes them.

It is written to be as fast as that can be: nothing is kept that the loss does not use, and no operation is
made that changes nothing (no mask without padding). `eager_loss` does the same amount of work through
Transformers' own eager attention, to show that the comparison is fair.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertModel

from megatinybert.objectives.tinybert import TinyBert

# The reference code adds this to the scores of padded keys, and takes scores at or below -100 for padding.
_PADDED, _PADDING_STARTS_AT = -10000.0, -100.0


def literal_loss(student: BertModel, objective: TinyBert, teacher: BertModel, batch: dict[str, Tensor]) -> Tensor:
    """TinyBERT's general distillation loss (Jiao et al. 2020, equations 7 to 9), all weights 1: a scalar.

    objective: gives the layer map and the projections. teacher: the whole model, in eval mode. batch: as
    `run_captured` takes it.
    """
    layers = objective.layer_map
    with torch.no_grad():
        theirs, their_states = _scores_and_states(teacher, batch, layers, [0, *(j + 1 for j in layers)])
    points = range(len(layers) + 1)
    ours, our_states = _scores_and_states(student, batch, range(len(layers)), points)
    if "attention_mask" in batch:
        ours, theirs = ([_zero_padding(scores) for scores in both] for both in (ours, theirs))
    return _mean_squared_errors(ours, theirs) + _state_loss(objective, our_states, their_states)


def eager_loss(student: BertModel, objective: TinyBert, teacher: BertModel, batch: dict[str, Tensor]) -> Tensor:
    """A loss that costs what `literal_loss` costs, by Transformers' eager attention; batches without padding.

    Transformers gives attention probabilities, not scores: they have the scores' shape and stand in for them.
    Both models must have been loaded with `attn_implementation="eager"`.
    """
    layers = objective.layer_map
    wanted = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        theirs = teacher(**batch, **wanted)
    ours = student(**batch, **wanted)
    their_states = [theirs.hidden_states[point] for point in (0, *(j + 1 for j in layers))]
    loss = _mean_squared_errors(ours.attentions, [theirs.attentions[j] for j in layers])
    return loss + _state_loss(objective, ours.hidden_states, their_states)


def _scores_and_states(
    model: BertModel, batch: dict[str, Tensor], layers: Collection[int], points: Collection[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """-> scores before the softmax, (B, H, S, S), of the layers asked for; states, (B, S, D), of the points.

    Point 0 is the embedding output, point i + 1 the output of layer i.
    """
    additive = None
    if "attention_mask" in batch:
        additive = (1.0 - batch["attention_mask"][:, None, None, :].float()) * _PADDED
    states = model.embeddings(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    kept_scores, kept_states = [], [states] if 0 in points else []
    encoder: Any = model.encoder
    for i, layer in enumerate(encoder.layer):
        attention = layer.attention.self
        rows, length, _ = states.shape
        q, k, v = (
            part(states).view(rows, length, attention.num_attention_heads, -1).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)  # scaling q saves a pass over the scores
        if additive is not None:
            scores = scores + additive
        probabilities = attention.dropout(torch.softmax(scores, dim=-1))
        context = (probabilities @ v).transpose(1, 2).reshape(rows, length, -1)
        states = layer.feed_forward_chunk(layer.attention.output(context, states))
        if i in layers:
            kept_scores.append(scores)
        if i + 1 in points:
            kept_states.append(states)
    return kept_scores, kept_states


def _zero_padding(scores: Tensor) -> Tensor:
    return torch.where(scores <= _PADDING_STARTS_AT, torch.zeros_like(scores), scores)


def _state_loss(objective: TinyBert, ours: Collection[Tensor], theirs: Collection[Tensor]) -> Tensor:
    maps = objective.projections
    projected = [maps[i if len(maps) > 1 else 0](states) for i, states in enumerate(ours)]
    return _mean_squared_errors(projected, theirs)


def _mean_squared_errors(ours: Collection[Tensor], theirs: Collection[Tensor]) -> Tensor:
    return torch.stack([functional.mse_loss(a, b) for a, b in zip(ours, theirs, strict=True)]).sum()
