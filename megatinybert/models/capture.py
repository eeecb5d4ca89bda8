"""Per-layer queries, keys and hidden states out of a Transformers encoder, without its attention scores.

Transformers lets a named function stand in for a model's attention; ours notes the queries and keys it is given and
passes them on to the library's own scaled-dot-product attention. Where they are noted is an argument of the call, so
there is no shared state: two models, or two calls, never see each other's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from megatinybert.models.head_logits import head_logits

ATTENTION_NAME = "megatinybert_capture"
# Below this length, torch's attention on a CPU without AMX has a faster backward pass in float32 than in bfloat16
# (benchmarks/README.md, "The student's attention on a CPU").
_FLOAT32_BELOW = 512
_HAS_AMX = torch.cpu._is_amx_tile_supported()
# What head widths have to be a multiple of on CUDA: any other has no kernel there in float32 or with a mask, and falls
# back to one that holds the scores (`check_head_dim_size_mem_efficient` in PyTorch's sdp_utils.cpp).
_CUDA_MULTIPLE = 8
MODEL_INPUTS = ("input_ids", "token_type_ids", "position_ids", "attention_mask")


@dataclass
class Features:
    """What one forward pass gives an objective.

    hidden_states: (B, S, D) each; entry 0 is the embedding output, entry i + 1 the output of layer i.
    queries, keys: (B, H, S, D / H) each, one per layer, not scaled.
    logits: what the model's head says, as heads.head_logits gives it; None of a model without one.
    """

    hidden_states: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    logits: Tensor | None = None


def _captured_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    capture: Features | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    if capture is not None:
        capture.queries.append(query)
        capture.keys.append(key)
    if _needs_padding(query):
        return _padded_attention(module, query, key, value, attention_mask, **kwargs)
    if not _is_faster_in_float32(query):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    with torch.autocast("cpu", enabled=False):  # it would narrow them again
        wide = query.float(), key.float(), value.float()
        context, weights = sdpa_attention_forward(module, *wide, attention_mask, **kwargs)
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
    return trained_in_bf16 and short_on_cpu and not _HAS_AMX


# Both registrations are needed: without the second, Transformers drops the padding mask in silence.
AttentionInterface.register(ATTENTION_NAME, _captured_attention)
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)


def run_captured(model: PreTrainedModel, batch: dict[str, Tensor]) -> Features:
    """Run an encoder loaded with `attn_implementation=ATTENTION_NAME`.

    batch: input_ids and token_type_ids, int64 (B, S); with padding also attention_mask, (B, S), 1 at real tokens; where
    positions are not 0 .. S - 1 also position_ids, int64 (B, S). What else is there (labels, say) is the objective's.
    Raises ValueError where the model did not use the attention it was told to (some architectures do not).
    """
    features = Features()
    inputs = {name: batch[name] for name in MODEL_INPUTS if name in batch}
    mask_BS = padding_mask(batch)
    if mask_BS is not None:  # of a mask (B, S) Transformers reads whether there is padding at all, and waits for it
        inputs["attention_mask"] = mask_BS[:, None, None, :]
    output = model.base_model(**inputs, output_hidden_states=True, capture=features)
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
