"""Hidden states, queries and keys out of a model: those of its own attention."""

from __future__ import annotations

import functools
import weakref
from pathlib import Path

import pytest
import torch
from transformers import BertModel

from megatinybert.models.capture import ATTENTION_NAME, Wanted, run_captured
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


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(frozenset([0, 2]), frozenset([2])), Wanted(frozenset(range(5)))])
def test_what_is_not_wanted_is_not_kept(wanted: Wanted) -> None:
    """And the rest is the same to the bit; the last hidden states are always there."""
    _, _, teacher = models()
    everything, some = run_captured(teacher, batch(True)), run_captured(teacher, batch(True), wanted)
    kept = {"hidden_states": wanted.states | {4}, "queries": wanted.layers, "keys": wanted.layers}
    for kind, numbers in kept.items():
        for number, (one, other) in enumerate(zip(getattr(some, kind), getattr(everything, kind), strict=True)):
            assert torch.equal(one, other) if number in numbers else one is None


def test_memory_of_what_is_not_wanted_is_free_within_the_pass() -> None:
    """While the last layer runs, the states, queries and keys of the first are gone."""
    _, _, teacher = models()
    made: dict[int, list[weakref.ref[torch.Tensor]]] = {0: [], 2: []}
    alive: dict[int, list[bool]] = {}
    for number, found in made.items():
        layer = teacher.encoder.layer[number]
        note = functools.partial(lambda found, *call: found.append(weakref.ref(call[-1].untyped_storage())), found)
        for module in (layer, layer.attention.self.query, layer.attention.self.key):
            module.register_forward_hook(note)

    def look(*_: object) -> None:
        alive.update({number: [each() is not None for each in found] for number, found in made.items()})

    teacher.encoder.layer[3].attention.self.register_forward_hook(look)
    with torch.no_grad():
        run_captured(teacher, batch(False), Wanted(frozenset([3]), frozenset([2])))
    assert alive == {0: [False] * 3, 2: [True] * 3}


def test_a_model_that_hides_its_attention_is_refused() -> None:
    _, _, teacher = models()
    teacher.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="4 layers but gave the queries and keys of 0"):
        run_captured(teacher, batch(False))
