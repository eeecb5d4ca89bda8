"""Refusals that list what differs between two runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def refuse_differences(
    what: str,
    there: Mapping[str, object],
    here: Mapping[str, object],
    remedy: str,
    word: str = "now",
    options: Mapping[str, str] | None = None,
) -> None:
    """Raise ValueError with a line for each thing in which two runs differ, and nothing where they agree.

    what, remedy: what stands before and after the lines. word: what the second run is. options: which decide a thing
    that is not called as they are. Of a mapping among the values, what differs in it has lines of its own.
    """
    by = {key: f" (by {option})" for key, option in (options or {}).items()}
    there, here = _flat(there), _flat(here)
    lines = [
        f"  {key}{by.get(key, '')}: {_shown(there.get(key, 'none'))} there, {_shown(here.get(key, 'none'))} {word}"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if lines:
        raise ValueError("\n".join([f"{what}:", *lines, remedy]))


def removal(own: Sequence[Path], later: Sequence[Path] = ()) -> str:
    """What to remove for a thing to be made again, for a remedy. own: its paths, at least one; later: those of what was
    made from it.
    """
    *others, last = map(str, (*own, *later))
    removed = f"{', '.join(others)} and {last}" if others else last
    return f"remove {removed} to rebuild it{' and what was made from it' if later else ''}"


def _shown(value: object) -> str:
    words = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return ", ".join(value) if isinstance(value, list) and words else str(value)


def _flat(values: Mapping[str, object]) -> dict[str, object]:
    """With the values of an inner mapping by their path, such as "objective.layer_map"."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        inner = value if isinstance(value, Mapping) else {}
        flat |= {f"{key}.{name}": each for name, each in _flat(inner).items()} or {key: value}
    return flat
