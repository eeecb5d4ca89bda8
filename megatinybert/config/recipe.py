"""YAML recipes and their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from megatinybert.config.help import show
from megatinybert.config.missing import meant_beside, reason


class Given(NamedTuple):
    """A value the user wrote, and where."""

    value: Any
    source: str


def label(name: str, given: Given) -> str:
    """How a message names an option with its value."""
    return f"--{name} {show(given.value)} ({given.source})"


def with_source(problem: str, options: Mapping[str, Given]) -> str:
    """A line about a path, with the recipe where it begins with an option and its value that are of one."""
    name = problem.partition(" ")[0].removeprefix("--")
    given = options.get(name)
    if given is None or not given.source.startswith("recipe "):
        return problem
    for entry in given.value if isinstance(given.value, list) else [given.value]:
        for written in (f"--{name} {entry}", f"--{name} {Path(str(entry))}"):
            rest = problem.removeprefix(written)
            if rest != problem and rest.startswith((" ", ":")):
                return f"{written} ({given.source}){rest}"
    return problem


_YAML = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")  # the types of values in a recipe
_NUMBERS = {
    "int": r"[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)",
    "float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)"
    r"|\.(nan|NaN|NAN)",
}
_OF_TEXT = tuple(_YAML + name for name in ("null", "bool", "merge"))  # what else text without quotes may be
_MOST_VALUES = 1_000_000
# Of two options, one of which stands instead of the other, by the last part of their names.
_INSTEAD = {"max_steps": "epochs", "warmup_steps": "warmup_fraction"}
_INSTEAD |= {other: key for key, other in _INSTEAD.items()}


class RecipeLoader(yaml.SafeLoader):
    """YAML of plain values, in which a repeated key is an error rather than a silent loss of the first, 0123 and 1:30
    are no numbers of base 8 and 60, and 2026-01-31 is text.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _OF_TEXT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (None, *(_YAML + name for name in _PLAIN))
    }

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node:
            _check(node, {})
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            str(value if type(value) is int else "")  # no message could show a number of so many digits
        except (ValueError, LookupError) as error:  # such as !!int x, and 0b_
            raise _refusal(f"{node.value!r:.40} cannot be read as {node.tag.removeprefix(_YAML)}", node) from error
        return value


for _name, _pattern in _NUMBERS.items():
    RecipeLoader.add_implicit_resolver(_YAML + _name, re.compile(f"^({_pattern})$"), list("-+0123456789."))


def _check(node: yaml.Node, counted: dict[yaml.Node, int]) -> int:
    """The number of values in a node, its aliases written out. counted: of those seen; 0 where they hold this one.

    Raises YAMLError where they are too many, where they have no end, and where a key is given twice.
    """
    count = counted.get(node)
    if count == 0:
        raise _refusal("an alias (*NAME) stands inside of what it names (&NAME); write its value instead", node)
    if count is None:
        counted[node] = 0
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        keys = set[str]()
        for key in (key for key, _ in pairs if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise _refusal(f"the key {key.value!r} is given twice", key)
            keys.add(key.value)
        inner = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in pairs for each in pair]
        count = counted[node] = 1 + sum(_check(each, counted) for each in inner)
        if count > _MOST_VALUES:
            raise _refusal(f"with its aliases (*NAME) written out, it has more than {_MOST_VALUES:,} values", node)
    return count


def _refusal(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _told(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """What is wrong and in which line, without the excerpt that PyYAML draws over several lines."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
    parts = ((error.context, error.context_mark), (error.problem, error.problem_mark))
    places = (f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark else what for what, mark in parts)
    return " ".join(filter(None, places))


def read_yaml(path: str, where: str) -> Any:
    """The content of a file. where: names it. Raises ValueError where it cannot be read."""
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=RecipeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: not valid YAML: {_told(error)}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: {reason(error)}{meant_beside(Path(path))}") from error
    except RecursionError as error:
        raise ValueError(f"{where}: nested too deeply") from error


def recorded_section(run: Path, name: str) -> Mapping[str, Any]:
    """A section of the recipe in an output folder; {} where there is none that can be read."""
    try:
        recipe = read_yaml(str(run / "config.yaml"), "")
    except ValueError:
        return {}
    section = recipe.get(name) if isinstance(recipe, dict) else None
    return section if isinstance(section, dict) else {}


def without_replaced(written: Mapping[str, Given], overrides: Mapping[str, Given]) -> dict[str, Given]:
    """A recipe's values but for those instead of which the command line gives another option."""

    def is_replaced(name: str) -> bool:
        section, _, key = name.rpartition(".")
        other = overrides.get(f"{section}.{_INSTEAD.get(key)}")
        return other is not None and other.value is not None

    return {name: given for name, given in written.items() if not is_replaced(name)}


def flatten(sections: Mapping[Any, Any]) -> dict[str, Any]:
    """{"run": {"seed": 1}} as {"run.seed": 1}; an empty section holds nothing."""
    return dict(options_in(sections))


def options_in(sections: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The same as pairs, in which an option may stand twice: in its section, and as section.key."""
    for section, content in sections.items():
        if isinstance(content, dict):
            yield from ((f"{section}.{key}", value) for key, value in content.items())
        elif content is not None:
            yield str(section), content
