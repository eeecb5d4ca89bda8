"""The option `students`: several students that are trained from one teacher pass.

Each entry has a name and what is its own of some sections; all else comes from the recipe's sections and the command
line. So an entry is read as these with its own values over them, and mistakes in it are told as those of a recipe are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.config.general import GeneralConfig
from megatinybert.config.help import Options, show
from megatinybert.config.nearest import nearest
from megatinybert.config.recipe import Given, flatten, label, read_yaml, without_replaced

OWN = ("student", "objective", "optimizer", "schedule")  # sections that an entry may have
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What stands beside the students' folders, or beside their measurements.
_TAKEN = {"checkpoints", "student", "teacher", "tensorboard", "stop", "speed", "time", "windows", "memory"}
_ENTRY = "its entry"  # source of a value


@dataclass(frozen=True)
class Entry:
    """One student as it was written. given: its own values by option; of None where it undoes the recipe's.

    place: how messages name it.
    """

    name: str
    place: str
    given: Mapping[str, Given]

    def over(self, common: Mapping[str, Given], without_effect: Mapping[str, str]) -> dict[str, Given]:
        """All that is given for this student. common: beside the entries. without_effect: what of it counts for nothing
        here, which is left out unless the entry itself says it.
        """
        common = without_replaced(common, self.given)
        inherited = {name: given for name, given in common.items() if name not in without_effect}
        return {name: given for name, given in (inherited | dict(self.given)).items() if given.value is not None}


def read_entries(students: Given, options: Options, problems: list[str]) -> list[Entry]:
    """The entries of the option `students`. What is wrong with them is added to `problems`."""
    written: Any = students.value
    if isinstance(written, str):
        try:
            written = read_yaml(written, label("students", students))
        except ValueError as problem:
            problems.append(str(problem))
            return []
    if not isinstance(written, list) or not written:
        needed = "needs a list of students, such as [{name: small, student: {config: 3L-312}}], or a file of one"
        problems.append(f"{label('students', students)}: {needed}")
        return []
    entries = [_entry(number, content, options, problems) for number, content in enumerate(written)]
    known = [entry for entry in entries if entry]
    names = [entry.name.lower() for entry in known]  # some file systems take upper case for lower
    for number, entry in enumerate(known):
        if entry.name.lower() in names[:number]:
            problems.append(f"{entry.place}: another student has this name, and so its folder; choose another")
    return known


def members_of(config: GeneralConfig) -> dict[str, GeneralConfig]:
    """The configuration of each student by its name, as that of a run of its own; {} where there is one student."""
    return {
        member.name: config.model_copy(
            update={
                "students": None,
                "run": config.run.model_copy(update={"output_dir": str(Path(config.run.output_dir) / member.name)}),
                **{section: getattr(member, section) for section in OWN},
            }
        )
        for member in config.students or []
    }


def ignored_overrides(entries: Sequence[Entry], overrides: Mapping[str, Given]) -> list[str]:
    """A line for each value of the command line that no student takes, since every entry has its own."""
    return [
        f"{label(name, given)} has no effect: every entry of students has its own; change it there"
        for name, given in overrides.items()
        if entries and all(name in entry.given for entry in entries)
    ]


def _entry(number: int, content: Any, options: Options, problems: list[str]) -> Entry | None:
    """None where it has no name that can be used."""
    place = f"students[{number}]"
    if not isinstance(content, dict):
        problems.append(f"{place}: needs a name and sections such as 'student:', not {show(content)}")
        return None
    name = content.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        why = "is taken" if isinstance(name, str) and name.lower() in _TAKEN else "cannot be that of its folder"
        problems.append(f"{place}: the name {show(name)} {why}: give letters, digits, '-', '_' and '.', such as small")
        return None
    place = f"{place} ({name})"
    flat = flatten({key: value for key, value in content.items() if key != "name"})
    given = {key: Given(value, _ENTRY) for key, value in flat.items()}
    own = [option for option in options if option.partition(".")[0] in OWN]
    for key in [key for key in given if key not in own]:
        if key in options or key in {option.partition(".")[0] for option in options}:
            sections = f"{', '.join(OWN[:-1])} and {OWN[-1]}"
            problems.append(f"{place}: {key} is common to all students: only {sections} stand in an entry")
        else:
            meant = nearest(key, own)
            hint = f"did you mean {meant}?" if meant else "--help lists all options"
            problems.append(f"{place}: {key}: no such option; {hint}")
        del given[key]
    return Entry(name, place, given)
