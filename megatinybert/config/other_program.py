"""Which of general and task distillation a recipe or an option is of, by their schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from megatinybert.config.general import GeneralConfig
from megatinybert.config.help import options_of
from megatinybert.config.nearest import closest, likely_options, nearest
from megatinybert.config.recipe import Given
from megatinybert.config.schema import ConfigError, ProgramConfig, Section
from megatinybert.config.task import TaskConfig


class _Named(NamedTuple):
    """How messages name a program."""

    work: str
    script: str


_PROGRAMS: dict[type[ProgramConfig], _Named] = {
    GeneralConfig: _Named("general distillation", "launch/general.sh"),
    TaskConfig: _Named("task distillation", "launch/task.sh"),
}
# Sections of the two that are about the same: the text, and the steps of a training.
_ABOUT_THE_SAME = ({"data", "task"}, {"run", "optimizer", "finetune", "mlm", "one", "two"})


class OtherProgram(ConfigError):
    """The recipe or the options are those of another program: each of them would be a mistake here."""


def other_than(schema: type[ProgramConfig]) -> type[ProgramConfig] | None:
    """The schema of the other one; None of a program that is neither."""
    return next((other for other in _PROGRAMS if other is not schema), None) if schema in _PROGRAMS else None


def script_of(schema: type[ProgramConfig]) -> str:
    """What starts the program, such as launch/task.sh."""
    return _PROGRAMS[schema].script


def own_sections(schema: type[ProgramConfig], names: Iterable[str]) -> set[str]:
    """The sections of these options that the program has and the other one has not."""
    other = other_than(schema)
    own = _sections(schema) - (_sections(other) if other else set())
    return {section for section, dot, _ in (name.partition(".") for name in names) if dot} & own


def check_program(
    schema: type[ProgramConfig], path: str, written: Mapping[str, Given], overrides: Mapping[str, Given]
) -> None:
    """Raise OtherProgram where a recipe, or else the command line, is one of the other program, by its sections. path:
    of the recipe, if there is one.
    """
    other = other_than(schema)
    if other is None:
        return
    theirs = own_sections(other, written)
    if theirs and not own_sections(schema, written):
        raise OtherProgram(
            f"--config {path} (command line): a recipe of {script_of(other)} (it has {', '.join(sorted(theirs))}), and "
            f"this program reads recipes of {script_of(schema)}"
        )
    theirs = own_sections(other, overrides)
    if theirs and not own_sections(schema, [*written, *overrides]):
        options = [f"--{name}" for name in overrides if name.partition(".")[0] in theirs]
        raise OtherProgram(
            f"{', '.join(options)}: of {script_of(other)}, and this program takes the options of {script_of(schema)}"
        )


def no_such_option(name: str, schema: type[ProgramConfig]) -> tuple[str, Sequence[str]]:
    """(what to say of an option that the program does not have, the options of its own that may be meant)."""
    fit = schema.of_others.get(name, "")
    other, theirs = other_than(schema), _of_the_other(name, schema)
    if other and theirs:
        work, script = _PROGRAMS[other]
        said = f"an option of {work} alone (sh {script})"
        said = said if theirs == name else f"no such option; --{theirs} is {said}"
        meant = [] if fit else _about_the_same(theirs, schema)
        return "; ".join(filter(None, [said, fit, _did_you_mean(meant)])), meant
    if fit:
        return f"no such option here; {fit}", []
    meant = likely_options(name, options_of(schema))
    return f"no such option; {_did_you_mean(meant) or '--help lists all options'}", meant


def _of_the_other(name: str, schema: type[ProgramConfig]) -> str | None:
    """The option of the other program that is called `name`, or is nearer to it than any here, in the same section."""
    other, here = other_than(schema), options_of(schema)
    if other is None:
        return None
    if name in options_of(other):
        return name
    section, dot, _ = name.partition(".")
    theirs = [each for each in options_of(other) if dot and each.startswith(f"{section}.") and each not in here]
    near = nearest(name, theirs)
    return near if near and closest([*likely_options(name, here), near], lambda each: (each, name)) == near else None


def _about_the_same(theirs: str, schema: type[ProgramConfig]) -> Sequence[str]:
    """The options here that say what one of the other program says there."""
    section = theirs.partition(".")[0]
    alike = next((sections for sections in _ABOUT_THE_SAME if section in sections), set[str]())
    return likely_options(theirs, [name for name in options_of(schema) if name.partition(".")[0] in alike])


def _did_you_mean(options: Sequence[str]) -> str:
    return f"did you mean {' or '.join(f'--{each}' for each in options)}?" if options else ""


def _sections(schema: type[ProgramConfig]) -> set[str]:
    kinds = {name: field.annotation for name, field in schema.model_fields.items()}
    return {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
