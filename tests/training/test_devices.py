"""A step's passes wait for no device and stay on it: on the meta device, no value can be read or mixed in.

Tensors of the meta device have shapes and no values. What reads one on its way (`.item()`, `if tensor`, a boolean
index) raises there, and on a GPU would make the host wait for all that is queued.
"""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, PreTrainedModel

from megatinybert.config.general import ObjectiveConfig
from megatinybert.models.capture import ATTENTION_NAME, padding_mask, run_captured
from megatinybert.models.load import build_student
from megatinybert.objectives.base import Objective
from megatinybert.objectives.label_loss import LabelLoss
from megatinybert.objectives.mlm import Mlm
from megatinybert.objectives.prediction import PredictionLoss
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.training.held_out import mean_pool
from megatinybert.training.loop import padding_share
from megatinybert.training.trainee import Trainee
from tests.helpers.toys import bert_config

META = torch.device("meta")
CLASSES = 3
CASES = ["tinybert, shared, reference", "tinybert, per-layer, valid", "labels", "scores", "answers", "mlm"]


def shape(**more: int) -> BertConfig:
    config = bert_config(num_labels=CLASSES, **more)
    config._attn_implementation = ATTENTION_NAME
    return config


def trainee(case: str) -> Trainee:
    student, teacher = shape(layers=2, hidden=12), shape()
    model: PreTrainedModel
    objective: Objective
    if case.startswith("tinybert"):
        _, projection, normalize = case.split(", ")
        options = ObjectiveConfig.model_validate({"projection": projection, "normalize": normalize})
        model, objective = build_student(student), TinyBert(options, student, teacher)
    elif case == "mlm":
        model, objective = BertForMaskedLM(student), Mlm()
    else:
        model = BertForSequenceClassification(student)
        objective = LabelLoss(case == "scores") if case in ("labels", "scores") else PredictionLoss(False, 2.0, 0.5, 4)
    return Trainee(model, objective)


def batch(length: int, padded: bool) -> dict[str, Tensor]:
    rows, masked = 4, 5
    names = ["input_ids", "token_type_ids", *(["attention_mask"] if padded else [])]
    tensors = {name: torch.zeros(rows, length, dtype=torch.long, device=META) for name in names}
    tensors |= {
        f"masked_{name}": torch.zeros(rows, masked, dtype=torch.long, device=META) for name in ("positions", "labels")
    }
    return tensors | {"labels": torch.zeros(rows, dtype=torch.long, device=META)}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("length", [8, 64])  # of both forms of the score loss
@pytest.mark.parametrize("case", CASES)
def test_no_pass_of_a_step_reads_a_value(case: str, length: int, padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # there is none for meta
    with META:
        trained, teacher = trainee(case), BertForSequenceClassification(shape()).eval()
    inputs = batch(length, padded)
    for mode in (True, False):
        trained.train(mode)
        with torch.no_grad():
            features = run_captured(teacher, inputs)
        total, values, _ = trained(inputs, features)
        total.backward()
        assert total.device.type == values.device.type == "meta"
        mean_pool(features.hidden_states[-1], padding_mask(inputs))
        padding_share(inputs)
    assert any(parameter.grad is not None for parameter in trained.parameters())


def test_what_reads_a_value_would_be_found() -> None:
    mask = torch.ones(2, 3, device=META)
    with pytest.raises(RuntimeError, match="meta"):
        bool(mask.all())
    with pytest.raises(RuntimeError, match="meta"):
        mask + torch.ones(2, 3)
