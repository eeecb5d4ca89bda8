"""The tables of options in docs/general.md and docs/task.md, written from what --help says of each option.

    python -m tests.scripts.option_tables

rewrites what stands between `<!-- options: NAMES -->` and `<!-- end -->`. NAMES are sections (`run`), options
(`student.config`), or several of either with commas between. Sections that give an option the same default and meaning
share a row. tests/repository/test_option_tables.py compares the pages with what this would write.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import NamedTuple

from megatinybert.config.general import GENERAL
from megatinybert.config.load import load_options
from megatinybert.config.program import Program
from megatinybert.config.task import TASK
from tests.helpers.pages import DOCS

PAGES: dict[Path, Program] = {DOCS / "general.md": GENERAL, DOCS / "task.md": TASK}
MARKED = re.compile(r"^<!-- options: ([\w., ]+) -->\n(.*?)^<!-- end -->$", re.M | re.S)
HEAD = "| Option | Default | Meaning |\n| --- | --- | --- |\n"
# How the pages write the values that --help describes.
SHORT = {
    "a list, each a whole number": "a list of integers",
    "a whole number": "integer",
    "a number ": "",
    ">=": "≥",
    "<=": "≤",
}
# Values that are not worth a word.
ANY_TEXT = re.compile(r"(a list, each )?text( or null)?")


class Option(NamedTuple):
    """What --help says of an option. default: as it prints it, or "required"."""

    description: str
    values: str
    default: str


def options_of(program: Program) -> dict[str, Option]:
    """Every option by its dotted name, in the order of --help."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        load_options(["--help"], program)
    entries = re.findall(r"^  --(\S+) +(.*)\n +\((.*); (?:default: (.*)|required)\)$", printed.getvalue(), re.M)
    return {name: Option(text, values, default or "required") for name, text, values, default in entries}


def names_in(marker: str, options: dict[str, Option]) -> list[str]:
    """The options that a marker stands for. Raises ValueError where there is none of a name."""
    found: list[str] = []
    for wanted in marker.split(", "):
        of_it = [name for name in options if name == wanted or name.startswith(f"{wanted}.")]
        if not of_it:
            raise ValueError(f"<!-- options: {marker} -->: there is no section or option {wanted}")
        found += of_it
    return found


def table(marker: str, options: dict[str, Option]) -> str:
    rows: dict[tuple[str, Option], list[str]] = {}
    for name in names_in(marker, options):
        rows.setdefault((name.split(".")[-1], options[name]), []).append(f"`--{name}`")
    keys = list(dict.fromkeys(key for key, _ in rows))  # what the sections share comes together
    ordered = sorted(rows.items(), key=lambda row: keys.index(row[0][0]))
    lines = []
    for (_, option), names in ordered:
        default = option.default if option.default == "required" else f"`{option.default}`"
        lines.append(f"| {', '.join(names)} | {default} | {option.description}{_values(option)} |\n")
    return HEAD + "".join(lines)


def _values(option: Option) -> str:
    """What an option takes, briefly, unless its description or default says so."""
    short = option.values.removesuffix(" or null")
    named = short.removeprefix("one of ").split(", ")
    if ANY_TEXT.fullmatch(option.values) or all(name in f"{option.description} {option.default}" for name in named):
        return ""
    for long, brief in SHORT.items():
        short = short.replace(long, brief)
    return f"; {short}"


def written(page: Path) -> str:
    """The page with its tables as they should be."""
    options = options_of(PAGES[page])

    def block(found: re.Match[str]) -> str:
        return f"<!-- options: {found[1]} -->\n{table(found[1], options)}<!-- end -->"

    return MARKED.sub(block, page.read_text(encoding="utf-8"))


def described_in(page: Path) -> list[str]:
    """The options that the page has in a table."""
    options = options_of(PAGES[page])
    markers = [found[1] for found in MARKED.finditer(page.read_text(encoding="utf-8"))]
    return [name for marker in markers for name in names_in(marker, options)]


def main() -> None:
    for page in PAGES:
        page.write_text(written(page), encoding="utf-8")


if __name__ == "__main__":
    main()
