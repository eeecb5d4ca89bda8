"""Hidden states, queries and keys out of a model: those of its own attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertModel

from megatinybert.models.capture import ATTENTION_NAME, run_captured
from tests.helpers.published_loss import batch, models
from tests.helpers.toys import write_teacher


def test_capture_follows_the_mask_and_the_layers(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    captured = BertModel.from_pretrained(folder, attn_implementation=ATTENTION_NAME).eval()
    eager = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = batch(True)
    features = run_captured(captured, inputs)
    output = eager(**inputs, output_hidden_states=True, output_attentions=True)
    real = inputs["attention_mask"].bool()
    for ours, theirs in zip(features.hidden_states, output.hidden_states, strict=True):
        assert torch.allclose(ours[real], theirs[real], atol=1e-5)
    for q, k, probabilities in zip(features.queries, features.keys, output.attentions, strict=True):
        scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~real[:, None, None, :], -torch.inf)
        assert torch.allclose(torch.softmax(scores, -1), probabilities, atol=1e-5)


def test_a_model_that_hides_its_attention_is_refused() -> None:
    _, _, teacher = models()
    teacher.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="4 layers but gave the queries and keys of 0"):
        run_captured(teacher, batch(False))
