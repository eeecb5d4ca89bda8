"""Refusals that list what differs between two runs."""

from __future__ import annotations

from collections.abc import Mapping


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
    that is not called as they are.
    """
    by = {key: f" (by {option})" for key, option in (options or {}).items()}
    lines = [
        f"  {key}{by.get(key, '')}: {there.get(key, 'none')} there, {here.get(key, 'none')} {word}"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if lines:
        raise ValueError("\n".join([f"{what}:", *lines, remedy]))
