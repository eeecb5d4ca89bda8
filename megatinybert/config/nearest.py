"""The name that was probably meant by one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be: one with the same last part, else the closest; of names that
    are equally close the first. That two options are of one section makes them no closer.
    """
    valid = list(valid)
    last = name.rsplit(".", 1)[-1].replace("-", "_")
    same_last_part = [candidate for candidate in valid if candidate.rsplit(".", 1)[-1] == last]

    def own(candidate: str) -> tuple[str, str]:
        section, dot, key = candidate.rpartition(".")
        return (key, name.removeprefix(section + dot)) if name.startswith(section + dot) else (candidate, name)

    return closest(same_last_part or valid, own, cutoff=0.0 if same_last_part else 0.6)


def closest(names: Iterable[str], compared: Callable[[str], tuple[str, str]], cutoff: float = 0.6) -> str | None:
    """The first of the names that are most like what was given; None where none is alike.

    compared: what of a name is compared with what. cutoff: the least share of characters in common.
    """

    def closeness(name: str) -> float:
        return difflib.SequenceMatcher(None, *compared(name)).ratio()

    best = max(names, key=closeness, default=None)
    return best if best is not None and closeness(best) >= cutoff else None
