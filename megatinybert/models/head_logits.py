"""A head's outputs for the last hidden states."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BertForMaskedLM, BertForSequenceClassification, PreTrainedModel


def head_logits(model: PreTrainedModel, states_BSD: Tensor, batch: dict[str, Tensor]) -> Tensor | None:
    """The logits of `model` for the last hidden states of its body, in their dtype; None for a model without a head.

    A classifier gives (B, C), with dropout in train mode, as Transformers computes it; where
    `model.config.relu_before_classifier` is true, as in published task TinyBERTs, with a ReLU after the pooler. It
    leaves autocast: in bfloat16 the answers of a regression, in its first steps, would mostly be equal.
    A masked-LM head gives (B, P, V), at the positions batch["masked_positions"] (int64 (B, P)) alone: over a whole
    sequence the vocabulary would be most of the memory and time.
    """
    if isinstance(model, BertForSequenceClassification):
        assert model.bert.pooler is not None
        with torch.autocast(states_BSD.device.type, enabled=False):
            pooled_BD = model.bert.pooler(states_BSD)
            if getattr(model.config, "relu_before_classifier", False):
                pooled_BD = pooled_BD.relu()
            return model.classifier(model.dropout(pooled_BD))
    if isinstance(model, BertForMaskedLM):
        assert "masked_positions" in batch
        return model.cls(torch.take_along_dim(states_BSD, batch["masked_positions"][:, :, None], dim=1))
    return None
