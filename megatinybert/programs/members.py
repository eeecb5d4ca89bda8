"""The students of a run, and what is found of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.training.checkpoints.family import check_one_student, where_all_continue
from megatinybert.training.stage import STUDENT, of_members, places_of


@dataclass(frozen=True)
class Members:
    """configs: the configuration of each student, by its name, as that of a run of its own.
    passed_over: a line about each newer step of several that is not whole.
    """

    configs: Mapping[str, GeneralConfig]
    passed_over: tuple[str, ...] = ()

    @property
    def first(self) -> GeneralConfig:
        """Of any, for what is the same in all."""
        return next(iter(self.configs.values()))

    def findings(self) -> dict[str, Findings]:
        """New ones, of each."""
        return {name: Findings() for name in self.configs}

    def of_each(self, said: Mapping[str, Findings]) -> list[Finding]:
        """What was found of each, with its place before it unless it is true of all."""
        places = places_of(self.configs)
        return of_members({places[name]: found for name, found in said.items()})


def find_members(config: GeneralConfig, world: World) -> Members:
    """The students of a run, all to begin at the step that all have reached. Every rank calls it.

    Raises ValueError where the output folder holds a run of other students.
    """
    output, wanted = Path(config.run.output_dir), config.run.resume
    if config.students is None:
        check_one_student(output)
        return Members({STUDENT: config})
    members = members_of(config)
    resume, passed_over = world.first(lambda: where_all_continue(output, wanted, list(members)))
    configs = {
        name: member.model_copy(update={"run": member.run.model_copy(update={"resume": resume[name]})})
        for name, member in members.items()
    }
    return Members(configs, tuple(passed_over))


def unsettled_members(config: GeneralConfig) -> Members:
    """The same without a look at the output folder, where that was refused: all else is told with it."""
    return Members(members_of(config) or {STUDENT: config})
