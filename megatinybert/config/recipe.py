"""YAML recipes and their values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from megatinybert.config.help import Options, canonical, show


class Given(NamedTuple):
    """A value the user wrote, and where."""

    value: Any
    source: str


def label(name: str, given: Given) -> str:
    """How a message names an option with its value."""
    return f"--{name} {show(given.value)} ({given.source})"


class _RecipeLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error rather than a silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in set(keys):
            if keys.count(key) > 1:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def read_recipe(path: str, options: Options, problems: list[str]) -> dict[str, Given]:
    """The recipe's values by name. What is wrong with the file is added to `problems`."""
    where = f"--config {path} (command line)"
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_RecipeLoader)
    except OSError as error:
        problems.append(f"{where}: {error.strerror}")
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problems.append(f"{where}: not valid YAML: {' '.join(str(error).split())}")
        return {}
    if content is not None and not isinstance(content, dict):
        sections = [name.partition(".")[0] for name in options if "." in name]
        needed = "sections such as 'run:'" if sections else f"lines such as '{next(iter(options))}: VALUE'"
        problems.append(f"{where}: needs {needed}, not {show(content)}")
        return {}
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
