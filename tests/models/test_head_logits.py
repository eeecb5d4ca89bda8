"""Logits of heads on their own: those of the whole model as Transformers computes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import BertForMaskedLM, BertForSequenceClassification, BertModel, PreTrainedModel

from megatinybert.models.head_logits import head_logits
from tests.helpers.toys import VOCABULARY, bert_config, padded_batch


def seeded(kind: type[PreTrainedModel], **more: object) -> PreTrainedModel:
    torch.manual_seed(3)
    return kind(bert_config(layers=2, initializer_range=0.2, **more)).double().eval()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return padded_batch(3)


def test_a_body_has_no_logits(batch: dict[str, Tensor]) -> None:
    model = seeded(BertModel)
    assert head_logits(model, model(**batch).last_hidden_state, batch) is None


@pytest.mark.parametrize("classes", [1, 3])
def test_a_classifier_gives_what_transformers_gives(batch: dict[str, Tensor], classes: int) -> None:
    model = seeded(BertForSequenceClassification, num_labels=classes)
    logits = head_logits(model, model.bert(**batch).last_hidden_state, batch)
    assert logits is not None and logits.shape == (3, classes)
    assert torch.equal(logits, model(**batch).logits)


def test_a_classifier_in_training_has_the_dropout_of_transformers(batch: dict[str, Tensor]) -> None:
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = seeded(BertForSequenceClassification, classifier_dropout=0.5, **off).train()
    states = model.bert(**batch).last_hidden_state
    torch.manual_seed(7)
    expected = model(**batch).logits
    torch.manual_seed(7)
    logits = head_logits(model, states, batch)
    assert logits is not None and torch.equal(logits, expected)
    assert not torch.equal(logits, model.eval()(**batch).logits)


def test_a_classifier_answers_in_float32_under_autocast(batch: dict[str, Tensor]) -> None:
    """Of answers that are nearly equal, as those of a regression after few steps, bfloat16 would make one."""
    model = seeded(BertForSequenceClassification, num_labels=1).float()
    states = model.bert(**batch).last_hidden_state
    assert model.bert.pooler is not None
    torch.nn.init.constant_(model.classifier.bias, 1000.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head_logits(model, states, batch)
        rounded = model.classifier(model.bert.pooler(states))
    assert len(rounded.unique()) == 1 and logits is not None and len(logits.unique()) == 3
    assert torch.equal(logits, head_logits(model, states, batch))


def test_a_published_classifier_sees_no_negative_value(batch: dict[str, Tensor]) -> None:
    model = seeded(BertForSequenceClassification, relu_before_classifier=True)
    states = model.bert(**batch).last_hidden_state
    pooled = torch.tanh(states[:, 0] @ model.bert.pooler.dense.weight.T + model.bert.pooler.dense.bias)
    expected = pooled.clamp(min=0) @ model.classifier.weight.T + model.classifier.bias
    logits = head_logits(model, states, batch)
    assert logits is not None
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)
    assert (logits - model(**batch).logits).abs().max() > 0.01


def test_a_masked_lm_head_gives_its_logits_at_the_masked_positions(batch: dict[str, Tensor]) -> None:
    model = seeded(BertForMaskedLM)
    positions = torch.tensor([[2, 6], [3, 0], [7, 1]])  # the second of row 1 is an unused slot
    states = model.bert(**batch).last_hidden_state
    logits = head_logits(model, states, batch | {"masked_positions": positions})
    whole = model(**batch).logits
    expected = torch.stack([whole[row, places] for row, places in enumerate(positions)])
    assert logits is not None and logits.shape == (3, 2, len(VOCABULARY))
    torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)


def test_gradients_of_masked_positions_reach_the_body(batch: dict[str, Tensor]) -> None:
    model = seeded(BertForMaskedLM)
    states = model.bert(**batch).last_hidden_state.detach().requires_grad_()
    logits = head_logits(model, states, batch | {"masked_positions": torch.tensor([[2], [3], [7]])})
    assert logits is not None
    logits.square().sum().backward()
    assert states.grad is not None
    touched = states.grad.abs().sum(dim=-1) > 0
    assert touched.nonzero().tolist() == [[0, 2], [1, 3], [2, 7]]
