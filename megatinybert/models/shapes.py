"""Shapes of models, read off their files alone: what does not fit is told before anything heavy is loaded."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from megatinybert.config.nearest import closest
from megatinybert.config.schema import STUDENTS_FOLDER
from megatinybert.config.transfer import TransferConfig
from megatinybert.models.layer_map import fitting_layers

_KEYS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size"),
)
_MISSPELT = 0.85  # share of characters in common; published configurations have keys that are alike at 0.84


@dataclass
class Shape:
    """As much of a model's configuration as is compared here."""

    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int | None


def misfit(config: TransferConfig, student: str, teacher: str) -> str:
    """What is wrong with a student's shape, and why it does not fit the teacher, as the run would say, a line each; ""
    where nothing is, or nothing is known yet.

    student: a shipped shape, or a model's folder or config.json. teacher: a folder. Nothing is known of names on the
    hub, and of runs.
    """
    shipped = _content(STUDENTS_FOLDER / f"{student}.json")
    small, large = shipped or _of_folder(student), _of_folder(teacher)
    problems = [] if shipped else shape_mistakes(student, small)
    if not shipped and (problem := other_vocabulary(student, small.get("vocab_size"), large.get("vocab_size"))):
        problems.append(problem)
    ours, theirs = _shape(small), _shape(large)
    if ours and theirs:
        try:
            fitting_layers(config, ours, theirs)
        except ValueError as error:
            problems.append(str(error))
    return "\n".join(problems)


def shape_mistakes(name: str, content: Mapping[str, Any]) -> list[str]:
    """What is wrong within a student's configuration, a line each. name: of --student.config. content: by key."""
    problems, lacking = [], [key for key in _KEYS if key not in content]
    for key in content:
        meant = None if key in _KEYS else closest(lacking, functools.partial(_pair, key), _MISSPELT)
        if meant:
            problems.append(f"--student.config {name}: no key is called {key}; did you mean {meant}?")
    for key in _KEYS:
        if key in content and not _is_count(content[key]):
            problems.append(f"--student.config {name}: {key} must be a whole number above 0, not {content[key]!r}")
    width, heads = (content.get(key) for key in ("hidden_size", "num_attention_heads"))
    if _is_count(width) and _is_count(heads) and width % heads:
        fits = [count for count in range(1, width + 1) if width % count == 0]
        near = sorted(sorted(fits, key=lambda count: abs(count - heads))[:2])
        problems.append(
            f"--student.config {name}: hidden_size {width} is no multiple of num_attention_heads {heads}: take "
            f"{' or '.join(map(str, near))} heads, or a width of {width - width % heads or heads}"
        )
    return problems


def other_vocabulary(name: str, own: Any, teacher: Any) -> str:
    """What to say where a student's vocab_size is not its teacher's; "" where it is, or one of them is not known."""
    if not (_is_count(own) and _is_count(teacher)) or own == teacher:
        return ""
    return (
        f"--student.config {name} has a vocabulary of {own:,}, the teacher {teacher:,}: both read the same tokens, so "
        "set vocab_size to the teacher's"
    )


def _of_folder(name: str) -> Mapping[str, Any]:
    path = Path(name).expanduser()
    return _content(path / "config.json") or _content(path)  # --student.config may name the file


def _content(path: Path) -> Mapping[str, Any]:
    """{} where it is no file of a configuration, which whoever opens the model tells."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _shape(content: Mapping[str, Any]) -> Shape | None:
    layers, heads = content.get("num_hidden_layers"), content.get("num_attention_heads")
    tokens = content.get("vocab_size")
    if not (_is_count(layers) and _is_count(heads)):
        return None
    return Shape(layers, heads, tokens if _is_count(tokens) else None)


def _pair(key: str, other: str) -> tuple[str, str]:
    return other, key


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
