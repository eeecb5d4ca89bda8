"""YAML recipes and their values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from megatinybert.config.help import Options, canonical, show
from megatinybert.config.missing import meant_beside


class Given(NamedTuple):
    """A value the user wrote, and where."""

    value: Any
    source: str


def label(name: str, given: Given) -> str:
    """How a message names an option with its value."""
    return f"--{name} {show(given.value)} ({given.source})"


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)"
    r"|\.(nan|NaN|NAN)",
}


class RecipeLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error rather than a silent loss of the first, and 0123 and 1:30 are no numbers
    of base 8 and 60.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in set(keys):
            if keys.count(key) > 1:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern in _NUMBERS.items():
    RecipeLoader.add_implicit_resolver(_tag, re.compile(f"^({_pattern})$"), list("-+0123456789."))


def read_recipe(path: str, options: Options, problems: list[str]) -> dict[str, Given] | None:
    """The recipe's values by name; None where it cannot be read. What is wrong with the file is added to `problems`."""
    where = f"--config {path} (command line)"
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=RecipeLoader)
    except OSError as error:
        problems.append(f"{where}: {error.strerror}{meant_beside(Path(path))}")
        return None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{where}: not valid YAML: {' '.join(str(error).split())}")
        return None
    try:
        json.dumps(content, default=str, skipkeys=True)
    except (ValueError, RecursionError):
        problems.append(f"{where}: an alias (*NAME) stands inside of what it names (&NAME); write its value instead")
        return None
    if content is not None and not isinstance(content, dict):
        sections = [name.partition(".")[0] for name in options if "." in name]
        needed = "sections such as 'run:'" if sections else f"lines such as '{next(iter(options))}: VALUE'"
        problems.append(f"{where}: needs {needed}, not {show(content)}")
        return None
    content = content or {}
    content.pop("environment", None)  # what a finished run notes in its config.yaml, which is a recipe too
    written: dict[str, Given] = {}
    for key, value in flatten(content).items():
        name = canonical(key, options)
        if name in written:  # once with hyphens, once with underscores
            problems.append(f"--{name} (recipe {path}): given twice; keep one")
        written[name] = Given(value, f"recipe {path}")
    return written


def flatten(sections: Mapping[Any, Any]) -> dict[str, Any]:
    """{"run": {"seed": 1}} as {"run.seed": 1}; an empty section holds nothing."""
    flat: dict[str, Any] = {}
    for section, content in sections.items():
        if isinstance(content, dict):
            flat |= {f"{section}.{key}": value for key, value in content.items()}
        elif content is not None:
            flat[str(section)] = content
    return flat
