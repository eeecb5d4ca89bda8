"""The library's folders and modules as docs/architecture.md shows them: each with the first line of its docstring.

After a module has come, gone or changed its first line:

    python -m tests.scripts.folder_tree
    git diff docs/architecture.md
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.toys import REPOSITORY

PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "```text\nmegatinybert/\n", "```\n"
_COLUMN = 26
ROOMS = ("runtime", "config", "corpus", "models", "samples", "objectives", "tracking", "training", "tasks", "programs")


def first_line(path: Path) -> str:
    """Of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.splitlines()[0].removesuffix(".")


def lines() -> Iterator[str]:
    library = REPOSITORY / "megatinybert"
    for room in ROOMS:
        yield from _of(library / room, 1)
    for door in sorted(library.glob("*.py")):
        if door.name != "__init__.py":
            yield _line(door.name, 1, first_line(door))


def _of(folder: Path, depth: int) -> Iterator[str]:
    yield _line(f"{folder.name}/", depth, first_line(folder / "__init__.py"))
    for path in sorted(folder.iterdir()):
        if path.is_dir() and (path / "__init__.py").exists():
            yield from _of(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield _line(path.name, depth + 1, first_line(path))


def _line(name: str, depth: int, text: str) -> str:
    return f"{'  ' * depth}{name} ".ljust(_COLUMN) + text


def page() -> str:
    """docs/architecture.md with the tree as it is now."""
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(BEGIN) + len(BEGIN)
    return text[:start] + "\n".join(lines()) + "\n" + text[text.index(END, start) :]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
