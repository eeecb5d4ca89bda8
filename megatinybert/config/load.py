"""Recipe and command line to a configuration.

No torch is imported here, so that --help and --print-config answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from megatinybert.config.arguments import read_arguments
from megatinybert.config.family import OWN, Entry, ignored_overrides, read_entries
from megatinybert.config.general import GENERAL, GeneralConfig, MemberConfig
from megatinybert.config.help import Options, allowed, canonical, help_text, options_of, show
from megatinybert.config.other_program import check_program, no_such_option
from megatinybert.config.program import Program, Schema
from megatinybert.config.recipe import Given, flatten, label, with_source, without_replaced
from megatinybert.config.recipe_file import read_recipe
from megatinybert.config.schema import ConfigError, ProgramConfig, split_batch
from megatinybert.config.training import TrainingConfig

__all__ = ["ConfigError", "GeneralConfig", "dump_yaml", "load_config", "load_options", "resolve_batch"]

# Options that were given, by name (None: not known, as it may be meant by a name that is none, or stand in a recipe
# that cannot be read) -> a line for each missing path.
Missing = Callable[[Mapping[str, Any]], list[str]]


def load_config(argv: list[str], missing: Missing | None = None) -> GeneralConfig:
    """The configuration of a general distillation; see `load_options`."""
    return load_options(argv, GENERAL, missing)


def load_options(argv: list[str], program: Program[Schema], missing: Missing | None = None) -> Schema:
    """The configuration of `argv` (without the program's name): defaults, then recipe, then overrides.

    --help and --print-config print and raise SystemExit(0). The launcher's --local_rank is ignored. missing: one of
    `named_paths`. Raises OtherProgram for what is of another, and ConfigError listing every unknown option, wrong
    value, conflict of recipe and command line, and missing path together.
    """
    options = options_of(program.schema)
    if "--help" in argv or "-h" in argv:
        print(help_text(program.usage, options, program.schema), end="")
        raise SystemExit(0)
    problems: list[str] = []
    misspelt: dict[str, Any] = {}  # values by what was probably meant, None where that may be several
    overrides, recipe, print_config = read_arguments(argv, options, program.words, problems)
    read = read_recipe(recipe, program.schema, problems) if recipe is not None else {}
    written = read or {}
    check_program(program.schema, str(recipe), written, overrides)
    for name, given in [*written.items(), *overrides.items()]:
        fixed = program.schema.removed.get(name)
        if fixed and not fixed.agrees(given.value):
            problems.append(f"{label(name, given)}: fixed at {fixed.value} and no option any more, as {fixed.reason}")
        elif not fixed and name not in options:
            said, meant = no_such_option(name, program.schema)
            misspelt |= dict.fromkeys(meant, given.value if len(meant) == 1 else None)
            problems.append(f"{label(name, given)}: {said}")
    # On the command line null means "as if the recipe had not set it".
    undone = {name for name, given in overrides.items() if given.value is None}
    both = without_replaced(written, overrides) | overrides
    merged = {name: given for name, given in both.items() if name in options and name not in undone}
    students = merged.pop("students", None)
    # Of a recipe that cannot be read nobody knows what it says, so nothing is missed that might stand in it.
    config = None if read is None else _build(merged, options, program.schema, problems)
    problems = [problem for problem in problems if not _asks_for(problem, misspelt)]
    if students and read is not None:
        entries = read_entries(students, options, problems)
        problems += ignored_overrides(entries, overrides)
        members = [_member(entry, merged, options, program.schema, problems) for entry in entries]
        config = config and config.model_copy(update={"students": members})
    if missing and not print_config:
        # A misspelt option is looked at as what was meant, lest what it says be missed.
        named = {name: given.value for name, given in merged.items() if given.value is not None}
        unread = dict.fromkeys(options) if read is None else {}
        paths = [with_source(line, merged) for line in missing(unread | misspelt | named)]
        if config and len(paths) == 1 and not problems:
            raise ConfigError(paths[0])
        problems += paths
    if len(problems) == 1:
        raise ConfigError(f"1 problem in the configuration:\n  {problems[0]}", problems)
    if config is None or problems:
        raise ConfigError.of(problems)
    if print_config:
        print(dump_yaml(config), end="")
        raise SystemExit(0)
    return config


def resolve_batch(config: TrainingConfig, world_size: int) -> tuple[int, int]:
    """(micro batch, accumulation steps), whose product with `world_size` is `run.global_batch`.

    Raises ConfigError with nearby valid choices where there is no such pair.
    """
    return split_batch(config.run.global_batch, config.run.micro_batch, world_size, config.section)


def dump_yaml(config: ProgramConfig) -> str:
    """`config` as YAML that --config reads back to an equal one; options without effect are left out."""
    sections = config.model_dump(mode="json")
    for option in config.without_effect(flatten(sections)):
        section, key = option.split(".")
        del sections[section][key]
    for student in sections.get("students") or []:
        for option in config.without_effect(flatten(sections | student)):
            section, key = option.split(".")
            student.get(section, {}).pop(key, None)
    if sections.get("students", True) is None:
        del sections["students"]
    sections = {section: content for section, content in sections.items() if content != {}}
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=120)


def _asks_for(problem: str, names: Iterable[str]) -> bool:
    """Whether a problem is that one of these options is required and lacking."""
    before, required, _ = problem.partition("required")
    return bool(required) and any(f"--{name}" in before.replace(":", " ").split() for name in names)


def _build(given: dict[str, Given], options: Options, schema: type[Schema], problems: list[str]) -> Schema | None:
    """The configuration of `given`, or None with the reasons added to `problems`."""
    values = {name: value for name, (value, _) in given.items()}
    without_effect = schema.without_effect(values)
    for option, other in without_effect.items():
        if option in given and other in given:
            problems.append(
                f"{label(option, given[option])} has no effect beside {label(other, given[other])};"
                f" remove one of them (--{option} null or --{other} null undoes a recipe's)"
            )
        elif option in given:
            default = show(schema.inferred(values).get(other, options[other]["default"]))
            problems.append(
                f"{label(option, given[option])} has no effect beside --{other} {default} (the default); remove it"
            )
    sections: dict[str, Any] = {name.split(".")[0]: {} for name in options if "." in name}
    for name, (value, _) in given.items():
        section, _, key = name.replace("-", "_").partition(".")
        if key:
            sections[section][key] = value
        else:
            sections[section] = value
    try:
        config = schema.model_validate(sections)
    except ValidationError as error:
        # A union reports every alternative it tried: one line for each option is enough.
        details = {_name_at(detail["loc"], options): detail for detail in reversed(error.errors())}
        for name, detail in reversed(details.items()):
            reason = detail.get("ctx", {}).get("error")
            if name in without_effect:
                continue  # said above
            if detail["type"] == "missing":
                problems.append(f"--{name}: required, and not given ({options[name]['description']})")
            elif name not in given:  # about several options
                problems.append(str(reason))
            else:
                needed = reason or f"must be {allowed(options[name])}"
                default = f" (default: {show(options[name]['default'])})" if "default" in options[name] else ""
                problems.append(f"{label(name, given[name])}: {needed}{default}")
        return None
    return None if problems else config


def _member(
    entry: Entry, common: dict[str, Given], options: Options, schema: type[Schema], problems: list[str]
) -> MemberConfig | None:
    """One student of several; None with the reasons added to `problems`, but for those that are there already."""
    own = entry.over(common, {})
    own = entry.over(common, schema.without_effect({name: given.value for name, given in own.items()}))
    objective = own.get("objective.name")
    if objective and objective.value == "mlm":
        alone = "it has no teacher, whose pass students share; train it in a run of its own"
        problems.append(f"{entry.place}: {label('objective.name', objective)}: {alone}")
        return None
    found: list[str] = []
    config = _build(own, options, schema, found)
    problems += [f"{entry.place}: {problem}" for problem in found if problem not in problems]
    if config is None or found:
        return None
    return MemberConfig.model_validate(
        {"name": entry.name} | {name: getattr(config, name).model_dump() for name in OWN}
    )


def _name_at(place: Sequence[int | str], options: Options) -> str:
    """The option at a place in the configuration; of what concerns several options, the section or ""."""
    option = canonical(str(place[0]), options) if place else ""
    return option if option in options else ".".join(map(str, place[:2]))
