"""Defaults of general distillation that follow from the student's first weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The schema's defaults are those that did best after solving (docs/solved-students.md); these are the paper's.
_NOT_SOLVED = {"objective.attention_weight": 1.0, "data.short_rows": 0.0, "optimizer.name": "adamw"}


def by_first_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    """By option, defaults that may differ from the schema's. given: what the user says, by option; null says nothing.

    Students are solved for the objective tinybert, and of others random. Muon, the default after solving, needs ZeRO
    stage 0, which a DeepSpeed file that is named may not have, and no kernels of AdamW.
    """
    said = {option: value for option, value in given.items() if value is not None}
    if said.get("objective.name", "tinybert") != "tinybert":
        defaults = {"student.init": "random", **_NOT_SOLVED}
    elif said.get("student.init", "solved") != "solved":
        defaults = _NOT_SOLVED
    else:
        by_itself = all(said.get(option, "auto") == "auto" for option in ("deepspeed", "optimizer.implementation"))
        defaults = {"optimizer.name": "muon" if by_itself else "adamw"}
    return {option: value for option, value in defaults.items() if option not in said}
