"""The library's rooms: which may import which, that the pages draw them as they are, and that files stay readable."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator

import pytest

from tests.helpers.pages import DOCS, blocks
from tests.helpers.toys import REPOSITORY
from tests.scripts import folder_tree

LIBRARY = REPOSITORY / "megatinybert"
ARCHITECTURE = DOCS / "architecture.md"
MOST_FLOORS, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 9, 300, 60


def rule() -> list[list[str]]:
    """The rooms of each floor, lowest first, by the line in docs/architecture.md."""
    line = next(b.text for b in blocks(ARCHITECTURE) if b.text.startswith("runtime, config <"))
    return [[name.strip() for name in floor.split(",")] for floor in line.split("<")]


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the library, by its path there."""
    return {str(path.relative_to(LIBRARY)): ast.parse(path.read_text()) for path in sorted(LIBRARY.rglob("*.py"))}


def imports() -> Iterator[tuple[str, str]]:
    """(importing module, what it imports below megatinybert), at the top of a file or inside a function."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((name, alias.name) for alias in node.names if alias.name.startswith("megatinybert"))
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative imports hide which room they reach"
                if node.module == "megatinybert":
                    yield from ((name, f"megatinybert.{alias.name}") for alias in node.names)
                elif (node.module or "").startswith("megatinybert."):
                    yield name, str(node.module)


def floor_of(name: str) -> int:
    """name: of a room or a door."""
    floors = rule()
    doors = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    room = "doors" if name in doors else name
    return next(number for number, rooms in enumerate(floors) if room in rooms)


def test_imports_point_to_lower_floors() -> None:
    arrows = set()
    for name, imported in imports():
        own, room = name.removesuffix(".py").split("/")[0], imported.split(".")[1]
        if room == "__version__" or own == "__init__":
            continue
        arrows.add((own, room))
        assert own == room or floor_of(room) < floor_of(own), f"{name} imports {imported}"
    assert ("training", "models") in arrows and len(arrows) > 30  # it does see imports


def test_the_rule_has_every_room_and_nine_floors_at_most() -> None:
    rooms = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {room for floor in rule() for room in floor} == rooms | {"doors"}
    assert len(rule()) <= MOST_FLOORS


def test_no_room_imports_from_itself_in_a_circle() -> None:
    names = {f"megatinybert.{name.removesuffix('.py').replace('/', '.')}": name for name in modules()}
    graph: dict[str, set[str]] = {name: set() for name in modules()}
    for name, imported in imports():
        if imported in names:
            graph[name].add(names[imported])
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("name", modules())
def test_files_and_functions_are_short(name: str) -> None:
    assert len((LIBRARY / name).read_text().splitlines()) <= MOST_LINES
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= MOST_LINES_OF_A_FUNCTION, f"{name}: {node.name} has {lines} lines"


def test_the_folder_tree_is_the_folder_tree() -> None:
    assert folder_tree.page() == ARCHITECTURE.read_text(), "run: python -m tests.scripts.folder_tree"
    assert set(folder_tree.ROOMS) == {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()}
