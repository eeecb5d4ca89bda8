"""Which output means which class: by name, never by number."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from megatinybert.tasks.labels import label_order

MNLI = ("contradiction", "entailment", "neutral")


@pytest.mark.parametrize("shuffled", list(permutations(MNLI)), ids=" ".join)
def test_any_order_is_found(shuffled: tuple[str, ...]) -> None:
    order = label_order(MNLI, dict(enumerate(shuffled)), "teacher")
    assert tuple(shuffled[output] for output in order) == MNLI
    logits = np.array([[float(MNLI.index(name)) for name in shuffled]])  # each output says its class's index
    assert logits[:, order].tolist() == [[0.0, 1.0, 2.0]]


@pytest.mark.parametrize(
    ("task", "outputs", "expected"),
    [
        (("entailment", "not_entailment"), ("NOT-ENTAILMENT", "Entailment "), [1, 0]),
        (("entailment", "not_entailment"), ("not entailment", "entailment"), [1, 0]),
        (("negative", "positive"), ("POSITIVE", "NEGATIVE"), [1, 0]),
        (("-1", "0", "1"), ("0", "1", "-1"), [2, 0, 1]),
        (("1-2", "12"), ("12", "1-2"), [1, 0]),
        (("a", "A"), ("A", "a"), [1, 0]),
        (("LABEL_0", "LABEL_1"), ("LABEL_1", "LABEL_0"), [1, 0]),
        (("好", "坏"), ("坏", "好"), [1, 0]),
    ],
)
def test_spelling(task: tuple[str, ...], outputs: tuple[str, ...], expected: list[int]) -> None:
    assert label_order(task, dict(enumerate(outputs)), "teacher") == expected


def test_keys_of_a_json_file_and_any_order_of_the_mapping() -> None:
    assert label_order(("a", "b"), {"1": "a", "0": "b"}, "teacher") == [1, 0]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (("LABEL_0", "LABEL_1"), "does not say which of them means which of negative, positive"),
        (("0", "1"), "called 0 1, but the classes of the task are negative positive"),
        (("negative", "neutral"), "called negative neutral, but the classes"),
        (("negative", "negative"), "called negative negative, but the classes"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), "a model of 3 classes"),
    ],
)
def test_names_that_do_not_say_it(outputs: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^the teacher in x: .*{reason}") as caught:
        label_order(("negative", "positive"), dict(enumerate(outputs)), "the teacher in x")
    assert ("--teacher.labels negative positive" in str(caught.value)) == (len(outputs) == 2)


def test_a_number_is_not_the_negative_of_another() -> None:
    with pytest.raises(ValueError, match="called 1 0"):
        label_order(("-1", "0"), {0: "1", 1: "0"}, "teacher")
