"""The Markdown pages for people who use the program, and the parts of a page that tests look at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from tests.helpers.toys import REPOSITORY

DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
CHINESE_README = README.with_name("README.zh.md")
PAGES = sorted([*REPOSITORY.glob("README*.md"), REPOSITORY / "CONTRIBUTING.md", *DOCS.glob("*.md")])


class CodeBlock(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> list[CodeBlock]:
    return [CodeBlock(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def section(page: Path, heading: str) -> str:
    """The text below a heading, down to the next heading of its level or above."""
    text = page.read_text()
    level, start = next((m[1], m.end()) for m in re.finditer(r"^(#+) (.*)$", text, re.M) if m[2] == heading)
    rest = re.search(rf"^#{{1,{len(level)}}} ", text[start:], re.M)
    return text[start : start + rest.start()] if rest else text[start:]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table in `text`, without lines of dashes."""
    lines = (line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def first_names(text: str) -> list[str]:
    """What stands in backticks in the first column of the tables in `text`."""
    return [name for cells in table_rows(text) for name in re.findall(r"`([^`]+)`", cells[0])]


def file_of(block: CodeBlock) -> str | None:
    """The path that a block is the content of, where its first line is a comment that says so."""
    found = re.match(r"# ([\w.-]+(?:/[\w.-]+)*\.(?:py|yaml))\n", block.text)
    return found[1] if found else None


def written_files(page: Path) -> set[str]:
    """The files that a reader of the page makes."""
    found = {file_of(block) for block in blocks(page)} - {None}
    return {str(path) for path in found} | set(re.findall(r"^cat > (\S+)", page.read_text(), re.M))
