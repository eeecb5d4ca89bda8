import shlex

import pytest

from megatinybert.config.load import load_config
from megatinybert.models.layer_map import layers_in_words, resolve_layer_map


@pytest.mark.parametrize(
    ("layer_map", "student", "teacher", "expected"),
    [
        ("uniform", 4, 12, [2, 5, 8, 11]),
        ("uniform", 6, 12, [1, 3, 5, 7, 9, 11]),
        ("uniform", 3, 3, [0, 1, 2]),
        ("top", 4, 12, [8, 9, 10, 11]),
        ("bottom", 4, 12, [0, 1, 2, 3]),
        ([0, 4, 5, 11], 4, 12, [0, 4, 5, 11]),
    ],
)
def test_maps(layer_map: str | list[int], student: int, teacher: int, expected: list[int]) -> None:
    assert resolve_layer_map(layer_map, student, teacher) == expected


def test_where_layers_do_not_divide_the_nearest_are_taken_and_told() -> None:
    assert resolve_layer_map("uniform", 4, 6) == [1, 2, 3, 5]
    told = layers_in_words("uniform", [1, 2, 3, 5], 6)
    start = "student layers 0 to 3 learn from layers 1, 2, 3, 5 of the teacher's 6 (counted from 0), "
    assert told.startswith(start) and "6 is no multiple of 4" in told
    words = told.rsplit("such as ", 1)[1]
    given = load_config(["--teacher.model", "t", "--data.shards", "s", "--objective.layer_map", *shlex.split(words)])
    assert given.objective.layer_map == [2, 3, 4, 5]  # as pasted into a shell; the list that was taken is no other
    assert layers_in_words("uniform", [1, 2], 3).endswith("such as 0 1")
    assert layers_in_words([2], [2], 3) == "student layer 0 learns from layer 2 of the teacher's 3 (counted from 0)"
    assert "multiple" not in layers_in_words("uniform", [1, 3], 4) + layers_in_words([0, 1, 2, 3], [0, 1, 2, 3], 6)


@pytest.mark.parametrize("layers", range(1, 49))
def test_a_uniform_map_is_always_valid(layers: int) -> None:
    for student in range(1, layers + 1):
        chosen = resolve_layer_map("uniform", student, layers)
        assert resolve_layer_map(chosen, student, layers) == chosen and chosen[-1] == layers - 1


@pytest.mark.parametrize("bad", [[0, 1], [0, 1, 2, 12], [3, 2, 1, 0], [1, 1, 2, 3], [-1, 0, 1, 2]])
def test_lists_that_do_not_fit(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="--objective.layer_map"):
        resolve_layer_map(bad, 4, 12)


def test_a_student_deeper_than_its_teacher() -> None:
    with pytest.raises(ValueError, match="at most 6"):
        resolve_layer_map("uniform", 12, 6)
