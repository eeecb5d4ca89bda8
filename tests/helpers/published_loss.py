"""Random small models, a batch for them, and the published loss between them."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from megatinybert.config.general import ObjectiveConfig
from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.models.load import build_student
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.training.trainee import Trainee
from tests.helpers.toys import bert_config


def models(projection: str = "shared", **objective: object) -> tuple[Trainee, BertConfig, BertModel]:
    torch.manual_seed(0)
    teacher_config = bert_config(layers=4, hidden=24, heads=4, initializer_range=0.3)
    no_dropout = {"attention_probs_dropout_prob": 0.0}  # as --student.attention_dropout is by default
    student_config = bert_config(layers=2, hidden=12, heads=4, initializer_range=0.3, **no_dropout)
    options = ObjectiveConfig.model_validate({"attention_weight": 1.0, "projection": projection, **objective})
    trainee = Trainee(build_student(student_config), TinyBert(options, student_config, teacher_config))
    teacher = BertModel(teacher_config, add_pooling_layer=False)
    teacher.set_attn_implementation(ATTENTION_NAME)
    return trainee.eval(), teacher_config, teacher


def batch(padded: bool, length: int = 11) -> dict[str, Tensor]:
    torch.manual_seed(1)
    inputs = {
        "input_ids": torch.randint(5, 100, (3, length)),
        "token_type_ids": (torch.arange(length) > 5).long().expand(3, -1),
    }
    if padded:
        inputs["attention_mask"] = (torch.arange(length) < torch.tensor([length, 7, 2])[:, None]).long()
    return inputs


def published_loss(trainee: Trainee, teacher: BertModel, inputs: dict[str, Tensor]) -> Tensor:
    """General distillation as its authors' code computes it, on eager attention and score matrices.

    For a mask of 1 and 0 the reference adds -10000 to the scores of padded keys; scores at or below -100 are then set
    to 0.
    """

    def scores_and_states(model: BertModel) -> tuple[list[Tensor], list[Tensor]]:
        mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
        additive = (1.0 - mask[:, None, None, :].float()) * -10000.0
        states = model.embeddings(input_ids=inputs["input_ids"], token_type_ids=inputs["token_type_ids"])
        all_scores, all_states = [], [states]
        for layer in model.encoder.layer:
            attention = layer.attention.self
            rows, length, _ = states.shape
            q, k, v = (
                part(states).view(rows, length, attention.num_attention_heads, -1).transpose(1, 2)
                for part in (attention.query, attention.key, attention.value)
            )
            scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + additive
            context = (torch.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(rows, length, -1)
            states = layer.feed_forward_chunk(layer.attention.output(context, states))
            all_scores.append(scores)
            all_states.append(states)
        return all_scores, all_states

    mse = torch.nn.MSELoss()
    with torch.no_grad():
        teacher_scores, teacher_states = scores_and_states(teacher)
    student_scores, student_states = scores_and_states(trainee.student)
    layers, per_block = len(student_scores), len(teacher_scores) // len(student_scores)
    loss = torch.zeros(())
    for i in range(layers):
        ours, theirs = student_scores[i], teacher_scores[i * per_block + per_block - 1]
        ours = torch.where(ours <= -1e2, torch.zeros_like(ours), ours)
        theirs = torch.where(theirs <= -1e2, torch.zeros_like(theirs), theirs)
        loss = loss + mse(ours, theirs)
    for i in range(layers + 1):
        maps = trainee.objective.projections
        projected = maps[i if len(maps) > 1 else 0](student_states[i])
        loss = loss + mse(projected, teacher_states[i * per_block])
    return loss
