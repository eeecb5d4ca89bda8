import pytest

from megatinybert.models.layer_map import resolve_layer_map


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


def test_a_fraction_is_refused_with_a_list_that_works() -> None:
    with pytest.raises(ValueError, match=r"6 layers are not a multiple .* --objective.layer_map \[1, 2, 3, 5\]"):
        resolve_layer_map("uniform", 4, 6)
    assert resolve_layer_map([1, 2, 3, 5], 4, 6) == [1, 2, 3, 5]


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
def test_the_suggested_list_is_always_valid(layers: int) -> None:
    for student in range(1, layers + 1):
        try:
            chosen = resolve_layer_map("uniform", student, layers)
        except ValueError as error:
            suggestion = str(error).rsplit("layer_map ", 1)[1]
            chosen = resolve_layer_map([int(n) for n in suggestion.strip("[]").split(",")], student, layers)
        assert chosen[-1] == layers - 1


@pytest.mark.parametrize("bad", [[0, 1], [0, 1, 2, 12], [3, 2, 1, 0], [1, 1, 2, 3], [-1, 0, 1, 2]])
def test_lists_that_do_not_fit(bad: list[int]) -> None:
    with pytest.raises(ValueError, match="--objective.layer_map"):
        resolve_layer_map(bad, 4, 12)


def test_a_student_deeper_than_its_teacher() -> None:
    with pytest.raises(ValueError, match="at most 6 layers"):
        resolve_layer_map("uniform", 12, 6)
