"""The file that --config names, and what was probably meant where it is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from megatinybert.config.help import canonical, options_of, show
from megatinybert.config.missing import meant_path, nearest_file
from megatinybert.config.other_program import other_than, own_sections, script_of
from megatinybert.config.recipe import Given, flatten, options_in, read_yaml
from megatinybert.config.run_folder import is_run
from megatinybert.config.schema import ProgramConfig
from megatinybert.config.shipped import RECIPES, from_here

_ENDINGS = (".yaml", ".yml")
_OF_A_RUN = "config.yaml"  # in its output folder
_SHOWN = 10  # of the recipes in a folder


def read_recipe(path: str, schema: type[ProgramConfig], problems: list[str]) -> dict[str, Given] | None:
    """The recipe's values by name; None where it cannot be read. What is wrong with the file is added to `problems`."""
    options = options_of(schema)
    where = f"--config {path} (command line)"
    file = Path(path)
    if os.path.isdir(file):
        problems.append(f"{where}: {_of_a_folder(file, schema)}")
        return None
    if not os.path.exists(file):
        problems.append(f"{where}: no such file{_meant(file, schema)}")
        return None
    try:
        content = read_yaml(path, where)
    except ValueError as problem:
        problems.append(str(problem))
        return None
    if content is not None and not isinstance(content, dict):
        sections = [name.partition(".")[0] for name in options if "." in name]
        needed = "sections such as 'run:'" if sections else f"lines such as '{next(iter(options))}: VALUE'"
        problems.append(f"{where}: needs {needed}, not {show(content)}")
        return None
    content = content or {}
    content.pop("environment", None)  # what a finished run notes in its config.yaml, which is a recipe too
    written: dict[str, Given] = {}
    for key, value in options_in(content):
        name = canonical(key, options)
        if name in written:  # once with hyphens, once with underscores, or once in its section and once as section.key
            problems.append(f"--{name} (recipe {path}): given twice; keep one")
        written[name] = Given(value, f"recipe {path}")
    return written


def _of_a_folder(folder: Path, schema: type[ProgramConfig]) -> str:
    """What to say where a folder is named."""
    if is_run(folder):
        recipe = folder / _OF_A_RUN
        whose = _script_if_other(recipe, schema)
        return f"the output folder of a run{f' of {whose}' if whose else ''}; its recipe is {recipe}"
    found = list(islice(_recipes_in(folder, schema), _SHOWN + 1))
    if not found:
        return f"a folder without a recipe of this program{_where_shipped(schema)}"
    first, *others = found
    if not others:
        return f"a folder; its recipe is {first}"
    shown = [
        *(str(each.relative_to(folder)) for each in others[: _SHOWN - 1]),
        *(["..."] if others[_SHOWN - 1 :] else []),
    ]
    return f"a folder; name one of its recipes, such as {first} (others: {', '.join(shown)})"


def _recipes_in(folder: Path, schema: type[ProgramConfig]) -> Iterator[Path]:
    """That of the run which has the folder; else those that lie in it, and then those of the runs in it."""
    files = [each for each in folder.glob("*") if each.suffix in _ENDINGS and each.is_file()]
    runs = [each for each in folder.glob(f"*/{_OF_A_RUN}") if is_run(each.parent)]
    found = [folder / _OF_A_RUN] if is_run(folder) else [*sorted(files), *sorted(runs)]
    return (each for each in found if not _script_if_other(each, schema))


def _meant(path: Path, schema: type[ProgramConfig]) -> str:
    """What was probably meant by a path that is not there, as a message's end."""
    meant = _meant_in_its_folder(path, schema) or _meant_by_its_name(path, schema)
    whose = _script_if_other(meant, schema) if meant else ""
    if whose:
        return f"; {meant} is a recipe of {whose}"
    return f"; did you mean {meant}?" if meant else _where_shipped(schema)


def _meant_in_its_folder(path: Path, schema: type[ProgramConfig]) -> Path | None:
    meant = meant_path(path) if len(path.parts) > 1 else None
    if meant is None or not meant.is_dir():
        return meant
    found = list(islice(_recipes_in(meant, schema), 2))
    return found[0] if len(found) == 1 else None


def _meant_by_its_name(path: Path, schema: type[ProgramConfig]) -> Path | None:
    """A shipped recipe, or of a path without a folder one in the working directory."""
    named = {each.stem.lower(): from_here(each) for each in sorted(RECIPES.glob("*.yaml")) if other_than(schema)}
    for each in sorted(Path().glob("*")) if len(path.parts) == 1 else ():
        if is_run(each):
            named[each.name.lower()] = each / _OF_A_RUN
        elif each.suffix in (*_ENDINGS, path.suffix) and each.is_file():
            named[each.stem.lower()] = each
    meant = nearest_file((path.stem if path.suffix in _ENDINGS else path.name).lower(), named)
    return named[meant] if meant else None


def _script_if_other(path: Path, schema: type[ProgramConfig]) -> str:
    """What starts the other program, where a file is a recipe of it; else ""."""
    other = other_than(schema)
    try:
        content = read_yaml(str(path), "") if other else None
    except ValueError:
        return ""
    names = flatten(content) if isinstance(content, dict) else {}
    return script_of(other) if other and own_sections(other, names) and not own_sections(schema, names) else ""


def _where_shipped(schema: type[ProgramConfig]) -> str:
    """Where recipes of the program are, as a message's end."""
    return f"; shipped recipes are in {from_here(RECIPES)}" if other_than(schema) and RECIPES.is_dir() else ""
