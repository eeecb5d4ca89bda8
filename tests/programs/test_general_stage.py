"""The language of a run's text, told by its held-out windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from megatinybert.programs import general_stage


class Windows:
    """Held-out windows of some tokens; only the first are Chinese."""

    def __len__(self) -> int:
        return 40

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"input_ids": np.where(rows[:, None] < 32, [1, 2, 1], [0, 0, 0])}


@pytest.mark.parametrize(("vocabulary", "expected"), [("a我们", True), ("abc", False)])
def test_the_first_held_out_windows_tell_the_language(vocabulary: str, expected: bool) -> None:
    tokenizer = Tokenizer(models.WordLevel({character: number for number, character in enumerate(vocabulary)}))
    reader = SimpleNamespace(tokenizer=tokenizer)
    opened: Any = SimpleNamespace(models=SimpleNamespace(reader=reader), held_out=Windows())
    assert general_stage._is_chinese(opened) is expected
