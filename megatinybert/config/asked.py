"""What a command line of general distillation asks for, as far as it can be told where some of it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatinybert.config.general import GeneralConfig
from megatinybert.config.hub import NotInCache, settle_hub
from megatinybert.config.load import load_options
from megatinybert.config.named_paths import hub_names, missing_of_general, names_in
from megatinybert.config.other_program import OtherProgram
from megatinybert.config.program import Program
from megatinybert.config.schema import ConfigError


@dataclass(frozen=True)
class Asked:
    """config: None where the options make none. given: their values as they were written, by option. problems: a line
    for each mistake in them. absent: a line for each path that is not there, and for a model that is not in the cache
    of a hub that is not asked.
    """

    config: GeneralConfig | None
    given: Mapping[str, Any]
    problems: Sequence[str]
    absent: Sequence[str]

    @property
    def mistaken(self) -> bool:
        return bool(self.problems or self.absent)


def read_asked(arguments: list[str], program: Program[GeneralConfig]) -> Asked:
    """arguments: as of `load_options`, which answers --help and --print-config. Of what is wrong, raises OtherProgram
    alone: of what is another program's nothing is worth a look.
    """
    given: dict[str, Any] = {}
    absent: list[str] = []

    def look(options: Mapping[str, Any]) -> list[str]:
        given.update(options)
        absent.extend(missing_of_general(options))
        return []

    config, problems = None, list[str]()
    try:
        config = load_options(arguments, program, look)
    except OtherProgram:
        raise
    except ConfigError as error:
        problems = error.problems
    try:
        teacher = next(iter(names_in(given, "teacher.model")), None)
        settle_hub(hub_names(config) if config else {"--teacher.model": teacher})
    except NotInCache as error:
        absent.append(str(error))
    return Asked(config, given, problems, absent)
