"""A run's configuration from recipe and command line, with every mistake reported at once.

No torch is imported here, so that --help and --print-config answer at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from megatinybert.config.general import GeneralConfig
from megatinybert.config.schema import (
    ConfigError,
    ProgramConfig,
    TrainingConfig,
    nearest,
    shipped_students,
    split_batch,
)

__all__ = ["ConfigError", "GeneralConfig", "Program", "dump_yaml", "load_config", "load_options", "resolve_batch"]

_GENERAL_USAGE = """\
usage:
  deepspeed launch/general.sh [--config RECIPE.yaml] [--section.key VALUE ...]   all devices of this machine
  sh launch/general.sh [...]              the same; launcher options come from the environment:
                                          HOSTFILE=FILE, DEEPSPEED_ARGS="--num_accelerators 2 ..."
  python -m megatinybert.general [...]    one process

Distils a student from a BERT teacher on unlabelled text. A recipe is a YAML file holding any subset of the
options below; those on the command line (--section.key VALUE or --section.key=VALUE) are applied over it in
order, and VALUE null goes back to the default. An option that takes a list takes all words up to the next
option (--data.text a.txt b.txt), or '[A, B]'. Relative paths, those in a recipe too, are relative to the
working directory. The recipe owns batch, learning rate and steps; the DeepSpeed configuration owns
precision, ZeRO and communication.

  --config RECIPE.yaml          the recipe (none: command line and defaults only)
  --print-config                print the resolved configuration, itself a valid recipe, and stop
  --help                        print this text and stop
"""


Options = dict[str, dict[str, Any]]


Schema = TypeVar("Schema", bound=ProgramConfig)


@dataclass(frozen=True)
class Program(Generic[Schema]):
    """What a command line is read by. usage: the beginning of --help."""

    schema: type[Schema]
    usage: str


GENERAL = Program(GeneralConfig, _GENERAL_USAGE)


class Given(NamedTuple):
    """A value the user wrote, and where."""

    value: Any
    source: str


def load_config(argv: list[str]) -> GeneralConfig:
    """The configuration of a general distillation; see `load_options`."""
    return load_options(argv, GENERAL)


def load_options(argv: list[str], program: Program[Schema]) -> Schema:
    """The configuration of `argv` (without the program's name): defaults, then recipe, then overrides.

    --help and --print-config print and raise SystemExit(0). The launcher's --local_rank is ignored. Raises
    ConfigError listing every unknown option, wrong value and conflict of recipe and command line together.
    """
    options = _options(program.schema)
    if "--help" in argv or "-h" in argv:
        print(_help(options, program), end="")
        raise SystemExit(0)
    problems: list[str] = []
    overrides, recipe, print_config = _read_arguments(argv, options, problems)
    written = _read_recipe(recipe, problems) if recipe is not None else {}
    for name, given in [*written.items(), *overrides.items()]:
        fixed = program.schema.removed.get(name)
        if fixed and not fixed.agrees(given.value):
            problems.append(f"{_label(name, given)}: fixed at {fixed.value} and no option any more, as {fixed.reason}")
        elif not fixed and name not in options:
            meant = nearest(name, options)
            hint = f"did you mean --{meant}?" if meant else "--help lists all options"
            problems.append(f"{_label(name, given)}: no such option; {hint}")
    # On the command line null means "as if the recipe had not set it".
    undone = {name for name, given in overrides.items() if given.value is None}
    merged = {n: given for n, given in (written | overrides).items() if n in options and n not in undone}
    config = _build(merged, options, program.schema, problems)
    if config is None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError("\n  ".join([f"{count} in the configuration:", *problems]))
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
    for option in config.without_effect(_flatten(sections)):
        section, key = option.split(".")
        del sections[section][key]
    sections = {section: content for section, content in sections.items() if content != {}}
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=120)


def _read_arguments(
    argv: list[str], options: Options, problems: list[str]
) -> tuple[dict[str, Given], str | None, bool]:
    """(overrides by dotted name, recipe path, whether to print the configuration)."""
    overrides: dict[str, Given] = {}
    recipe: str | None = None
    print_config = False
    several = {name for name, option in options.items() if _takes_list(option)}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            problems.append(f"{argument} (command line): not an option, nor a value of the one before it")
        elif argument == "--print-config":
            print_config = True
        elif not equals and (not rest or rest[0].startswith("--")):
            problems.append(f"{argument} (command line): a value is missing after it")
        else:
            text = text if equals else rest.pop(0)
            more: list[str] = []
            while not equals and name in several and rest and not rest[0].startswith("--"):
                more.append(rest.pop(0))
            if name == "config":
                if recipe is not None:
                    problems.append(f"--config {text} (command line): given twice; keep one recipe")
                recipe = text
            elif name not in ("local_rank", "local-rank"):
                overrides[name] = Given([text, *more] if more else _parse(text), "command line")
    return overrides, recipe, print_config


def _takes_list(option: Mapping[str, Any]) -> bool:
    """Whether the JSON schema `option` allows a list."""
    return any(choice.get("type") == "array" for choice in (option, *option.get("anyOf", ())))


def _parse(text: str) -> Any:
    """A list or null is read as YAML; other values stay text, which the schema converts."""
    if text.strip() in ("null", "~"):
        return None
    if text.lstrip().startswith("["):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text
    return text


class _RecipeLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error rather than a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in set(keys):
            if keys.count(key) > 1:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _read_recipe(path: str, problems: list[str]) -> dict[str, Given]:
    """The recipe's values by dotted name."""
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_RecipeLoader)
    except OSError as error:
        problems.append(f"--config {path} (command line): {error.strerror}")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"--config {path} (command line): not valid YAML: {' '.join(str(error).split())}")
        return {}
    if content is not None and not isinstance(content, dict):
        problems.append(f"--config {path} (command line): needs sections such as 'run:', not {_show(content)}")
        return {}
    content = content or {}
    content.pop("environment", None)  # what a finished run notes in its config.yaml, which is a recipe too
    written = _flatten(content)
    return {name: Given(value, f"recipe {path}") for name, value in written.items()}


def _flatten(sections: Mapping[Any, Any]) -> dict[str, Any]:
    """{"run": {"seed": 1}} as {"run.seed": 1}; an empty section holds nothing."""
    flat: dict[str, Any] = {}
    for section, content in sections.items():
        if isinstance(content, dict):
            flat |= {f"{section}.{key}": value for key, value in content.items()}
        elif content is not None:
            flat[str(section)] = content
    return flat


def _build(given: dict[str, Given], options: Options, schema: type[Schema], problems: list[str]) -> Schema | None:
    """The configuration of `given`, or None with the reasons added to `problems`."""
    values = {name: value for name, (value, _) in given.items()}
    without_effect = schema.without_effect(values)
    for option, other in without_effect.items():
        if option in given and other in given:
            problems.append(
                f"{_label(option, given[option])} has no effect beside {_label(other, given[other])};"
                f" remove one of them (--{option} null or --{other} null undoes a recipe's)"
            )
        elif option in given:
            default = _show(options[other]["default"])
            problems.append(
                f"{_label(option, given[option])} has no effect beside --{other} {default} (the default); remove it"
            )
    sections: dict[str, Any] = {name.split(".")[0]: {} for name in options if "." in name}
    for name, (value, _) in given.items():
        section, _, key = name.partition(".")
        if key:
            sections[section][key] = value
        else:
            sections[section] = value
    try:
        config = schema.model_validate(sections)
    except ValidationError as error:
        # A union reports every alternative it tried: one line for each option is enough.
        details = {".".join(map(str, detail["loc"][:2])): detail for detail in reversed(error.errors())}
        for name, detail in reversed(details.items()):
            reason = detail.get("ctx", {}).get("error")
            if name in without_effect:
                continue  # said above
            if detail["type"] == "missing":
                problems.append(f"--{name}: required, and not given ({options[name]['description']})")
            elif name not in given:  # about several options
                problems.append(str(reason))
            else:
                needed = reason or f"must be {_allowed(options[name])}"
                default = f" (default: {_show(options[name]['default'])})" if "default" in options[name] else ""
                problems.append(f"{_label(name, given[name])}: {needed}{default}")
        return None
    return None if problems else config


def _options(schema: type[BaseModel]) -> Options:
    """The JSON schema of every option, by dotted name, in the order of the sections."""
    tree = schema.model_json_schema()
    options: Options = {}
    for name, content in tree["properties"].items():
        if "$ref" in content:
            section = tree["$defs"][content["$ref"].rsplit("/", 1)[-1]]
            options |= {f"{name}.{key}": option for key, option in section["properties"].items()}
        else:
            options[name] = content
    return options


def _help(options: Options, program: Program[Schema]) -> str:
    lines = [program.usage]
    last_section = ""
    for name, option in options.items():
        section = name.split(".")[0]
        if section != last_section:
            model = program.schema.model_fields[section].annotation
            is_section = isinstance(model, type) and issubclass(model, BaseModel)
            lines.append(f"{section}: {model.__doc__}" if is_section else f"{section}: How the engine runs.")
            last_section = section
        description = option["description"]
        if name == "student.config":
            description += f" ({', '.join(shipped_students())})"
        default = f"default: {_show(option['default'])}" if "default" in option else "required"
        lines.append(f"  --{name:<28} {description}\n{'':33}({_allowed(option)}; {default})")
    return "\n".join(lines) + "\n"


def _allowed(option: Mapping[str, Any]) -> str:
    """What values the JSON schema `option` takes, in words."""
    if "anyOf" in option:
        return " or ".join(_allowed(choice) for choice in option["anyOf"])
    if "enum" in option:
        return "one of " + ", ".join(option["enum"])
    if "const" in option:
        return str(option["const"])
    if option["type"] == "array":
        items = option.get("prefixItems")
        length = f" of {len(items)}" if items else ""
        return f"a list{length}, each {_allowed(items[0] if items else option['items'])}"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {option[key]:g}" for key, sign in signs.items() if key in option]
    nouns = {
        "integer": "a whole number",
        "number": "a number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    return " ".join([nouns[option["type"]], " and ".join(bounds)]).strip()


def _label(name: str, given: Given) -> str:
    return f"--{name} {_show(given.value)} ({given.source})"


def _show(value: object) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
