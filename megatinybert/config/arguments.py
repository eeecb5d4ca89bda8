"""The words of a command line as options and their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from megatinybert.config.help import Options, canonical, takes_list, value_alone
from megatinybert.config.nearest import nearest
from megatinybert.config.recipe import Given

_OF_THE_LAUNCHER = ("local_rank", "local-rank")
_DASHES = "-\N{EN DASH}\N{EM DASH}"  # word processors make one of the last two out of --


def read_arguments(
    argv: list[str], options: Options, words: Sequence[str], problems: list[str]
) -> tuple[dict[str, Given], str | None, bool]:
    """(overrides by name, recipe path, whether to print the configuration). words: the program's options that no recipe
    has. What is wrong is added to `problems`, and what else is wrong is told as if it were not.
    """
    overrides: dict[str, Given] = {}
    recipe: str | None = None
    print_config = False
    several = {name for name, option in options.items() if takes_list(option)}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if bare := _without_dashes(argument, options):
            problems.append(f"{argument} (command line): two dashes are missing before it; did you mean --{bare}?")
            argument = f"--{bare}"
        name, equals, text = argument.removeprefix("--").partition("=")
        name = canonical(name, options)
        alone = not equals and (not rest or rest[0].startswith("--"))
        if meant := _misspelt_word(argument, name, options, words):
            said = [f"--{name}", *([] if alone else [text if equals else rest[0]])]
            problems.append(f"{' '.join(said)} (command line): no such option; did you mean --{meant}?")
            if meant != "config":
                del rest[: not (alone or equals)]  # its value
                continue
            name = meant
        unknown = name not in (*options, *words, *_OF_THE_LAUNCHER)
        if not argument.startswith("--"):
            problems.append(f"{argument} (command line): not an option, nor a value of the one before it")
        elif argument == "--print-config":
            print_config = True
        elif alone and (value := unknown or value_alone(options.get(name, {}))) is not None:
            overrides[name] = Given(value, "command line")
        elif alone:
            problems.append(f"{argument} (command line): a value is missing after it")
        else:
            text = text if equals else rest.pop(0)
            more: list[str] = []
            takes_more = not equals and (unknown or name in several)  # of one that is unknown, whatever follows
            while takes_more and rest and not _begins_option(rest[0], options):
                more.append(rest.pop(0))
            if name == "config":
                if recipe is not None:
                    problems.append(f"--config {text} (command line): given twice; keep one recipe")
                recipe = text
            elif name not in _OF_THE_LAUNCHER:
                overrides[name] = Given([text, *more] if more else _parse(text), "command line")
    return overrides, recipe, print_config


def _without_dashes(argument: str, options: Options) -> str:
    """An option that is written with too few dashes, or with such as are none, without any; "" of all else."""
    if argument.startswith("--"):
        return ""
    bare = argument.lstrip(_DASHES)
    name = canonical(bare.partition("=")[0], options)
    return bare if name in options or name in ("config", "print-config") else ""


def _misspelt_word(argument: str, name: str, options: Options, words: Sequence[str]) -> str:
    """Which of the program's words is meant by an argument of this name, where it is no option; else ""."""
    if not argument.startswith("--") or "." in name or name in (*options, *words):
        return ""
    meant = nearest(name, [*options, *words])
    return meant if meant and meant in words else ""


def _begins_option(word: str, options: Options) -> bool:
    """Whether a word ends a list. Without dashes only a section's option does: others are names that files may have."""
    return word.startswith("--") or ("." in word.partition("=")[0] and bool(_without_dashes(word, options)))


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
