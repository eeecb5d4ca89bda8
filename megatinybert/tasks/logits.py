"""A fine-tuned model's logits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from megatinybert.models.capture import MODEL_INPUTS
from megatinybert.models.head_logits import head_logits
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.tasks.rows import EncodedRows


@torch.no_grad()
def forward(model: PreTrainedModel, batch: dict[str, np.ndarray], device: torch.device) -> Tensor:
    """The logits of a classifier for a batch of `EncodedRows`: (B, C) on `device`, in the model's dtype."""
    inputs = {name: torch.from_numpy(batch[name]).to(device) for name in MODEL_INPUTS if name in batch}
    logits = head_logits(model, model.base_model(**inputs).last_hidden_state, inputs)
    assert logits is not None
    return logits


def logits_of(model: PreTrainedModel, rows: EncodedRows, device: torch.device, batch_tokens: int = 8192) -> np.ndarray:
    """The logits of every row, in the rows' order and that of the model's outputs: float32 (N, C).

    Rows run in eval mode in batches of like length, the longest first, of up to `batch_tokens` tokens with padding (a
    longer row is a batch of its own). The model is on `device`, and is left in the mode it was in.
    Raises ValueError where a logit is not finite.
    """
    outputs = model.config.num_labels
    assert outputs is not None
    result = np.empty((len(rows), outputs), dtype=np.float32)
    mode = model.training
    model.eval()
    try:
        with progress_bar(len(rows), "row", desc="answering", delay=3, leave=False) as bar:
            for ids in rows.by_length(batch_tokens):
                result[ids] = forward(model, rows.batch(ids), device).float().cpu().numpy()
                bar.update(len(ids))
    finally:
        model.train(mode)
    bad = np.flatnonzero(~np.isfinite(result).all(axis=1))
    if len(bad):
        raise ValueError(
            f"the model's outputs are not finite for {len(bad):,} of {len(rows):,} rows, the first of them row "
            f"{bad[0] + 1:,}: its weights are damaged, or too large for {model.dtype}"
        )
    return result
