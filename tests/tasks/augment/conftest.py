"""A tiny masked-LM, and options of an augmentation by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.augment import AugmentOptions
from tests.helpers.augment_toys import write_masked_lm


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a masked-LM of random weights, livelier than at BERT's own initialisation."""
    folder = tmp_path_factory.mktemp("masked-lm")
    write_masked_lm(folder)
    return folder


@pytest.fixture
def options(tmp_path: Path, model: Path) -> Callable[..., AugmentOptions]:
    """Options of a small augmentation of tmp_path / "task"."""

    def make(**more: Any) -> AugmentOptions:
        values: dict[str, Any] = {
            "task": "custom",
            "data_dir": str(tmp_path / "task"),
            "model": str(model),
            "output": tmp_path / "out.jsonl",
            "copies": 4,
            "candidates": 5,
            "workers": 1,
            "device": "cpu",
        }
        return AugmentOptions(**(values | more))

    return make
