"""Rows of a file that cannot be used: counted, or told in one refusal."""

from __future__ import annotations

from pathlib import Path

from megatinybert.config.flat import OptionNames
from megatinybert.runtime.counts import counted
from megatinybert.tasks.reading.formats import WITHOUT_LABEL, Bad
from megatinybert.tasks.reading.layout import NO_LABEL

_KEPT_MESSAGES = 5
_SHOWN_CHARACTERS = 160


class Skipped:
    """Rows that could not be parsed: how many, how many of them have no label, and the first few messages
    ("file:line: reason: text").
    """

    def __init__(self) -> None:
        self.count = 0
        self.unlabelled = 0
        self.messages: list[str] = []

    def add(self, message: str, unlabelled: bool = False) -> None:
        self.count += 1
        self.unlabelled += unlabelled
        if len(self.messages) < _KEPT_MESSAGES:
            self.messages.append(message)


def reporter(path: Path, skipped: Skipped) -> Bad:
    """What counts the bad rows of a file."""

    def bad(line: int, reason: str, text: str) -> None:
        shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
        message = f"{path}:{line}: {reason}" + (f": {shown!r}" if text else "")
        skipped.add(message, unlabelled=reason.startswith(WITHOUT_LABEL))

    return bad


def refusal(found: Skipped, path: Path, names: OptionNames) -> ValueError:
    """found: rows of a file, at least one, that are not to be left out."""
    count = f"{counted(found.count, 'row')} of {path.name} cannot be used"
    remedy = "Correct the row" if found.count == 1 else "Correct the rows"
    if found.unlabelled:
        of_them = "" if found.unlabelled == found.count else f", {found.unlabelled:,} of them"
        count += f"{of_them} because {'it has' if found.unlabelled == 1 else 'they have'} no label"
        remedy += f", leave out rows without a label with {names['drop_labels']} {NO_LABEL}"
    remedy += f", or have such rows left out and counted: {names['skip_bad_rows']} true"
    first = "" if found.count == len(found.messages) else f", of which these are the first {len(found.messages)}"
    return ValueError("\n".join([*found.messages, f"{count}{first}. {remedy}"]))


def no_rows(path: Path, skipped: Skipped) -> ValueError:
    """That a file has no row that can be used."""
    if skipped.count:
        return ValueError(f"{path}: none of its rows can be parsed. The first: {skipped.messages[0]}")
    return ValueError(f"{path}: it has no rows")
