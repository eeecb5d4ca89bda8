"""What differs between two runs is told line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.runtime.differences import refuse_differences, removal


def test_of_mappings_only_what_differs_in_them_is_told() -> None:
    there = {"seed": 1, "steps": 5, "objective": {"name": "tinybert", "layer_map": "top", "own": {"a": 1}}, "maps": {}}
    here = {"seed": 1, "steps": 6, "objective": {"own": {"a": 2}, "layer_map": "top", "name": "tinybert"}, "maps": None}
    with pytest.raises(ValueError) as caught:
        refuse_differences("other", there, here, "mend it", options={"steps": "--run.max_steps"})
    assert str(caught.value).splitlines() == [
        "other:",
        "  maps: {} there, None now",
        "  objective.own.a: 1 there, 2 now",
        "  steps (by --run.max_steps): 5 there, 6 now",
        "mend it",
    ]
    refuse_differences("other", there, {**there}, "mend it")


def test_all_that_has_to_be_removed_is_named() -> None:
    a, b, c = map(Path, "abc")
    assert removal([a]) == "remove a to rebuild it"
    assert removal([a, b]) == "remove a and b to rebuild it"
    assert removal([a], [b, c]) == "remove a, b and c to rebuild it and what was made from it"
