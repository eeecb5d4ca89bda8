"""The objective on whole models: against the published loss, and what a step holds in memory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from megatinybert.config.general import ObjectiveConfig
from megatinybert.models.capture import Wanted, run_captured
from megatinybert.models.load import Teacher
from megatinybert.objectives.tinybert import TinyBert
from tests.helpers.published_loss import batch, models, published_loss
from tests.helpers.toys import bert_config


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


@pytest.mark.parametrize(
    "options", [{}, {"attention_weight": 0.0}, {"hidden_weight": 0.0, "layer_map": "bottom"}, {"embedding_weight": 0.0}]
)
def test_it_reads_what_it_says_and_no_more(options: dict[str, object]) -> None:
    """The same losses to the bit, also of a teacher that runs deeper; an error where anything less is kept."""
    trainee, _, teacher = models(**options)
    inputs, wanted = batch(True), trainee.wanted
    with torch.no_grad():
        student = run_captured(trainee.student, inputs)

    def losses(kept: Wanted | None) -> list[Tensor]:
        return trainee.objective(student, Teacher(teacher).features(inputs, kept), inputs)

    assert all(torch.equal(one, other) for one, other in zip(losses(wanted), losses(None), strict=True))
    states, layers = trainee.objective.wanted.states - {4}, trainee.objective.wanted.layers  # 4: kept in any case
    assert wanted == Wanted(states | {trainee.objective.teacher_layers}, layers)
    less = [Wanted(wanted.states - {each}, layers) for each in states]
    less += [Wanted(wanted.states, layers - {each}) for each in layers]
    for each in less:
        with pytest.raises((AttributeError, TypeError)):
            losses(each)


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
