"""Queries, keys and hidden states of each layer.

Transformers lets a named function stand in for a model's attention; ours notes the queries and keys it is given and
passes them on to `attention.attend`. Where they are noted is an argument of the call, so there is no shared state: two
models, or two calls, never see each other's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from megatinybert.models.attention import attend
from megatinybert.models.head_logits import head_logits

ATTENTION_NAME = "megatinybert_capture"
MODEL_INPUTS = ("input_ids", "token_type_ids", "position_ids", "attention_mask")


@dataclass(frozen=True)
class Wanted:
    """Which features of a pass are kept; the others' memory is free again within it.

    states: of `Features.hidden_states`, by their numbers there. layers: whose queries and keys.
    """

    states: frozenset[int] = frozenset()
    layers: frozenset[int] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(self.states | other.states, self.layers | other.layers)


@dataclass
class Features:
    """What one forward pass gives an objective.

    hidden_states: (B, S, D) each; entry 0 is the embedding output, entry i + 1 the output of layer i.
    queries, keys: (B, H, S, D / H) each, one per layer, not scaled.
    In all three, None is in the place of what was not `Wanted`.
    logits: what the model's head says, as head_logits.head_logits gives it; None of a model without one.
    """

    hidden_states: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None

    def of_first(self, layers: int) -> Features:
        """Those of a model that ends after its first `layers` layers; the logits stay."""
        return Features(self.hidden_states[: layers + 1], self.queries[:layers], self.keys[:layers], self.logits)


def _captured_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    capture: Features | None = None,
    wanted: Wanted | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    if capture is not None:
        kept: Any = (query, key) if wanted is None or len(capture.queries) in wanted.layers else (None, None)
        capture.queries.append(kept[0])
        capture.keys.append(kept[1])
    return attend(module, query, key, value, attention_mask, **kwargs)


# Both registrations are needed: without the second, Transformers drops the padding mask in silence.
AttentionInterface.register(ATTENTION_NAME, _captured_attention)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def run_captured(model: PreTrainedModel, batch: dict[str, Tensor], wanted: Wanted | None = None) -> Features:
    """Run an encoder loaded with `attn_implementation=ATTENTION_NAME`.

    batch: input_ids and token_type_ids, int64 (B, S); with padding also attention_mask, (B, S), 1 at real tokens; where
    positions are not 0 .. S - 1 also position_ids, int64 (B, S). What else is there (labels, say) is the objective's.
    wanted: what is kept beside the last hidden states; None: everything.
    Raises ValueError where the model did not use the attention it was told to (some architectures do not).
    """
    features = Features()
    inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
    mask_BS = padding_mask(batch)
    if mask_BS is not None:  # of a mask (B, S) Transformers reads whether there is padding at all, and waits for it
        inputs["attention_mask"] = mask_BS[:, None, None, :]
    states = True if wanted is None else [*wanted.states, -1]
    output = model.base_model(**inputs, output_hidden_states=states, capture=features, wanted=wanted)
    features.hidden_states = list(output.hidden_states)
    features.logits = head_logits(model, features.hidden_states[-1], batch)
    layers = len(features.hidden_states) - 1
    if len(features.queries) != layers:
        raise ValueError(
            f"{type(model).__name__} has {layers} layers but gave the queries and keys of {len(features.queries)}: "
            "this architecture does not let its attention be captured"
        )
    return features


def padding_mask(batch: dict[str, Tensor]) -> Tensor | None:
    """The batch's mask as bool (B, S), True at real tokens; None for a batch without padding."""
    mask = batch.get("attention_mask")
    return None if mask is None else mask.to(torch.bool)
