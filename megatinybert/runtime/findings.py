"""What checks find, for the doctor to show and runs to refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

Level = Literal["ok", "warn", "fail"]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """level: "fail" where the run would not be what was asked for, "warn" where a person should look.

    subject: a word or two, for a table. text: what is so; of a warning or a failure also what to do about it.
    """

    level: Level
    subject: str
    text: str


class Findings:
    """Findings in the order in which things were looked at."""

    def __init__(self) -> None:
        self.all: list[Finding] = []

    def add(self, *findings: Finding) -> None:
        """What is there already is not added again: the stages of a task ask the same questions."""
        self.all += [finding for finding in findings if finding not in self.all]

    def attempt(self, subject: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `work` returns; None where it raises ValueError or OSError, whose message becomes a failure, or several
        where it has `problems`.
        """
        try:
            return work(*args, **kwargs)
        except ValueError as error:
            self.add(*(Finding("fail", subject, text) for text in getattr(error, "problems", [str(error)])))
        except OSError as error:
            self.add(Finding("fail", subject, f"{subject}: {error}"))
        return None

    def texts(self, level: Level) -> list[str]:
        return [finding.text for finding in self.all if finding.level == level]

    @property
    def warnings(self) -> list[str]:
        """A line for each, as a run prints them at its start."""
        return [f"warning: {finding.subject}: {finding.text}" for finding in self.all if finding.level == "warn"]

    @property
    def failed(self) -> bool:
        return bool(self.texts("fail"))


def of_each(said: Mapping[str, Findings], worded: Callable[[str], str] = str) -> list[Finding]:
    """What was found of each of several things: what is true of all of them once, the rest with the thing's name.

    worded: how the rest is said.
    """

    def named(name: str, found: Finding) -> Finding:
        return dataclasses.replace(found, text=f"{name}: {worded(found.text)}")

    return _once({name: own.all for name, own in said.items()}, named)


def lines_of_each(said: Mapping[str, Sequence[str]]) -> list[str]:
    """The same of lines."""
    return _once(said, lambda name, line: f"{name}: {line}")


def _once(said: Mapping[str, Sequence[T]], named: Callable[[str, T], T]) -> list[T]:
    told = [
        one if all(one in other for other in said.values()) else named(name, one)
        for name, own in said.items()
        for one in own
    ]
    return list(dict.fromkeys(told))


def once_of_files(texts: Iterable[str], files: Sequence[Path]) -> list[str]:
    """Lines such as "FILE: what" or "FILE:LINE: what", with what is the same of several of these files told once."""
    places: dict[str, list[str]] = {}  # by what is told of them
    for text in texts:
        file = next((str(path) for path in files if text.startswith(f"{path}:")), "")
        place = file + text.removeprefix(file).partition(": ")[0] if file else ""
        places.setdefault(text.removeprefix(place), []).append(place)
    told = []
    for what, (first, *others) in places.items():
        too = dict.fromkeys(other for other in others if other != first)
        told.append(f"{first} (likewise {' and '.join(too)}){what}" if too else first + what)
    return told


def refusal(texts: Iterable[str]) -> str:
    """Failures as one message."""
    texts = list(texts)
    if len(texts) == 1:
        return texts[0]
    indented = ("- " + text.replace("\n", "\n  ") for text in texts)
    return "\n".join([f"{len(texts)} problems:", *indented])
