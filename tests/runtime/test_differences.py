"""What differs between two runs is told line by line."""

from __future__ import annotations

import pytest

from megatinybert.runtime.differences import refuse_differences


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
