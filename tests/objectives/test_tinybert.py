"""The objective on whole models: against the published loss, and what a step holds in memory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import BertConfig, BertModel

from megatinybert.config.general import ObjectiveConfig
from megatinybert.models.capture import ATTENTION_NAME, run_captured
from megatinybert.models.load import Teacher, build_student
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.training.trainee import Trainee
from tests.helpers.toys import bert_config, write_teacher


def models(projection: str = "shared", **objective: object) -> tuple[Trainee, BertConfig, BertModel]:
    torch.manual_seed(0)
    teacher_config = bert_config(layers=4, hidden=24, heads=4, initializer_range=0.3)
    no_dropout = {"attention_probs_dropout_prob": 0.0}  # as --student.attention_dropout is by default
    student_config = bert_config(layers=2, hidden=12, heads=4, initializer_range=0.3, **no_dropout)
    options = ObjectiveConfig(projection=projection, **objective)
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


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("projection", ["shared", "per-layer"])
@pytest.mark.parametrize("length", [11, 48])  # either form of the score loss
def test_equals_the_published_loss(padded: bool, projection: str, length: int) -> None:
    trainee, _, teacher = models(projection)
    inputs = batch(padded, length)
    total, values, _ = trainee(inputs, Teacher(teacher).features(inputs))
    expected = published_loss(trainee, teacher.eval(), inputs)
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(values[1:].sum()) == pytest.approx(float(expected.detach()), rel=1e-5)
    ours = torch.autograd.grad(total, list(trainee.parameters()))
    theirs = torch.autograd.grad(expected, list(trainee.parameters()))
    for (name, _), a, b in zip(trainee.named_parameters(), ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max() + 1e-3)), name


def test_valid_normalisation_ignores_padding() -> None:
    trainee, _, teacher = models(normalize="valid")
    short, padded = batch(False, 7), batch(True, 11)
    row = {name: tensor[1:2] for name, tensor in padded.items()}  # 7 real tokens, 4 of padding
    alone = {name: tensor[1:2, :7] for name, tensor in padded.items() if name != "attention_mask"}
    assert short["input_ids"].shape[1] == 7
    results = [trainee(inputs, Teacher(teacher).features(inputs))[1] for inputs in (row, alone)]
    assert torch.allclose(*results, rtol=1e-5)


def test_weights_and_left_out_terms() -> None:
    trainee, config, teacher = models(attention_weight=0.0, hidden_weight=0.5, embedding_weight=2.0)
    assert [term.name for term in trainee.objective.terms] == ["embedding", "hidden_0", "hidden_1"]
    inputs = batch(False)
    total, values, _ = trainee(inputs, Teacher(teacher).features(inputs))
    assert float(total.detach()) == pytest.approx(float(2 * values[1] + 0.5 * (values[2] + values[3])))
    only_embedding = TinyBert(ObjectiveConfig(attention_weight=0, hidden_weight=0), trainee.student.config, config)
    assert only_embedding.teacher_layers == 0
    bottom = TinyBert(ObjectiveConfig(layer_map="bottom"), trainee.student.config, config)
    assert bottom.teacher_layers == 2, "a teacher is run only as deep as it is used"


def test_a_mismatch_of_heads_is_refused_with_advice() -> None:
    student, teacher = bert_config(2, 12, 4), bert_config(4, 24, 6)
    with pytest.raises(ValueError, match="4 heads and the teacher 6.*--objective.attention_weight 0"):
        TinyBert(ObjectiveConfig(), student, teacher)
    TinyBert(ObjectiveConfig(attention_weight=0), student, teacher)


class NoSquares(TorchDispatchMode):
    """Fails on any tensor with two axes of the sequence length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and list(leaf.shape).count(self.length) >= 2:
                raise AssertionError(f"{function} made a tensor of shape {tuple(leaf.shape)}")
        return result


def test_no_square_tensor_in_a_step(tmp_path: Path) -> None:
    length = 61  # prime, and no width of the models
    trainee, _, teacher = models()
    inputs = batch(False, length)
    trainee.train()
    with NoSquares(length):
        total, _, _ = trainee(inputs, Teacher(teacher).features(inputs))
        total.backward()
    assert all(parameter.grad is not None for parameter in trainee.parameters())
    with pytest.raises(AssertionError, match="made a tensor"), NoSquares(length):  # the guard can fail
        published_loss(trainee, teacher, inputs)


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
