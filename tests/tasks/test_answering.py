"""A teacher that answers a row with the same bits in every batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import BertForSequenceClassification

from megatinybert.models.capture import ATTENTION_NAME, run_captured
from megatinybert.tasks.answering import MULTIPLE, Answering
from tests.helpers.encoded_rows import encoded_rows
from tests.helpers.toys import bert_config

LENGTHS = [5, 9, 16, 7, 12, 30, 6, 8, 20, 11, 17, 32, 31, 15, 33, 40, 10, 5, 9, 13]
DATA = encoded_rows(LENGTHS)


def teacher(dtype: torch.dtype = torch.float32, **shape: int) -> Answering:
    """As wide as kernels need to be that round by the shapes of their products."""
    sizes = {"intermediate_size": 768, "initializer_range": 0.2, "num_labels": 3, **shape}
    config = bert_config(2, hidden=192, **sizes)
    config._attn_implementation = ATTENTION_NAME
    torch.manual_seed(0)
    return Answering(BertForSequenceClassification(config).to(dtype))


def batch(ids: list[int]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in DATA.batch(np.array(ids)).items()}


def answers(model: Answering, ids: list[int]) -> torch.Tensor:
    logits = model.features(batch(ids)).logits
    assert logits is not None and logits.dtype == model.model.dtype
    return logits


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_in_every_batch(dtype: torch.dtype, threads: None) -> None:
    """Alone, in any place, beside longer rows, and with more rows of its length than a pass has."""
    model, everything = teacher(dtype), list(range(len(DATA)))
    together = answers(model, everything)
    assert sum(length <= 2 * MULTIPLE for length in LENGTHS) > model.rows
    for row in everything:
        assert torch.equal(answers(model, [row])[0], together[row]), row
    shuffled = np.random.default_rng(0).permutation(everything * 5).tolist()
    assert torch.equal(answers(model, shuffled), together[shuffled])


def test_without_it_the_batch_counts() -> None:
    """Or the test above could not fail."""
    model, everything = teacher().model, list(range(len(DATA)))
    with torch.no_grad():
        together = run_captured(model, batch(everything)).logits
        alone = [run_captured(model, batch([row])).logits for row in everything]
    assert together is not None
    assert any(not torch.equal(one[0], other) for one, other in zip(alone, together, strict=True) if one is not None)


def test_the_answers_are_those_of_the_model() -> None:
    """Also where it has fewer positions than a row's length rounded up."""
    for model in (teacher(), teacher(max_position_embeddings=max(LENGTHS))):
        with torch.no_grad():
            expected = run_captured(model.model, batch(list(range(len(DATA))))).logits
        assert expected is not None
        torch.testing.assert_close(answers(model, list(range(len(DATA)))), expected, rtol=1e-4, atol=1e-5)


class Waits(TorchDispatchMode):
    """Notes the operations for whose result, or its shape, the host would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags):
            self.noted.append(str(func))
        return func(*args, **(kwargs or {}))


def test_rows_are_parted_without_waiting_for_the_device() -> None:
    """But for the lengths, which are read once."""
    model, everything = teacher(), list(range(len(DATA)))
    with Waits() as waits:
        answers(model, everything)
    assert waits.noted == []


def test_answers_that_the_batch_holds_are_taken() -> None:
    """Without a look at any value, which a tensor of the device meta does not have."""
    kept = torch.zeros(1, 3, device="meta")
    unknown = {name: tensor.to("meta") for name, tensor in batch([0]).items()}
    assert teacher().features({**unknown, "teacher_logits": kept}).logits is kept
