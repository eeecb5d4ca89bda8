"""Where the repository's own files are."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "launch" / "recipes"


def from_here(path: Path) -> Path:
    """An absolute path as short as it can be written in the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
