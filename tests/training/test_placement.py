"""Which checkpoints are read as they are, and what is said of the others."""

from __future__ import annotations

import pytest

from megatinybert.training.placement import THREADS, Placement, in_words, on_precision, on_threads, placement_of


@pytest.mark.parametrize(
    ("there", "here", "reads"),
    [
        (Placement(2, 0, "fp32"), Placement(3, 0, "fp32"), True),
        (Placement(None, 0, "fp32"), Placement(3, 0, "fp32"), True),
        (Placement(2, 1, "fp32"), Placement(2, 1, "fp32"), True),
        (Placement(2, 1, "fp32"), Placement(3, 1, "fp32"), False),
        (Placement(2, 1, "fp32"), Placement(2, 2, "fp32"), False),
        (Placement(2, 1, "fp32"), Placement(2, 1, "bf16-autocast"), False),
        (Placement(2, 0, "fp32"), Placement(2, 0, "bf16-autocast"), True),
    ],
)
def test_which_checkpoints_are_read_as_they_are(there: Placement, here: Placement, reads: bool) -> None:
    assert here.reads(there) == reads


def test_words() -> None:
    two, three = Placement(2, 1, "fp32"), Placement(3, 2, "fp32")
    assert in_words(three, two) == "3 ranks, ZeRO 2, from a checkpoint of 2 ranks, ZeRO 1"
    assert on_precision(three, two) is None
    old, fp16 = Placement(None, 0, "fp32"), Placement(1, 2, "fp16")
    assert in_words(fp16, old) == "1 rank, ZeRO 2, fp16, from a checkpoint of ZeRO 0, fp32"
    said = on_precision(fp16, old)
    assert said and said.startswith("the checkpoint was trained in fp32, and the run continues in fp16, its loss scale")


@pytest.mark.parametrize("facts", [{}, {"ZeRO stage": 7, "precision": "fp32"}, {"ZeRO stage": 1, "precision": "fp32"}])
def test_a_record_that_does_not_say_where_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"does not say where it was written: world size none, ZeRO stage (none|7|1)"):
        placement_of(facts)


def test_another_number_of_threads_is_told() -> None:
    said = on_threads({THREADS: 2}, 1)
    assert said == "2 threads of a rank before, 1 now: results agree to rounding, not bit for bit"
    assert on_threads({THREADS: 2}, 2) is None and on_threads({}, 2) is None
