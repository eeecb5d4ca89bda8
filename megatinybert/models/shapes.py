"""Shapes of models, read off their files alone: what does not fit is told before anything heavy is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.config.schema import STUDENTS_FOLDER
from megatinybert.config.transfer import TransferConfig
from megatinybert.models.layer_map import fitting_layers


@dataclass
class Shape:
    """As much of a model's configuration as is compared here."""

    num_hidden_layers: int
    num_attention_heads: int


def misfit(config: TransferConfig, student: str, teacher: str) -> str:
    """Why layers or heads of two models do not fit, as the run would say; "" where they do, or nothing is known yet.

    student: a shipped shape, or a model's folder. teacher: a folder. Nothing is known of names on the hub, and of runs.
    """
    small = _read(STUDENTS_FOLDER / f"{student}.json") or _of_folder(student)
    large = _of_folder(teacher)
    if small is None or large is None:
        return ""
    try:
        fitting_layers(config, small, large)
    except ValueError as error:
        return str(error)
    return ""


def _of_folder(name: str) -> Shape | None:
    path = Path(name).expanduser()
    return _read(path / "config.json") or _read(path)  # --student.config may name the file


def _read(path: Path) -> Shape | None:
    """None where it is no file of a configuration, which whoever opens the model tells."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        layers, heads = content["num_hidden_layers"], content["num_attention_heads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Shape(layers, heads) if isinstance(layers, int) and isinstance(heads, int) else None
