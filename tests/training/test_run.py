"""Which weights are kept is said; a product that cannot be written is told with the room that it needs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from megatinybert.runtime.dist import World
from megatinybert.training.run import _kept_in_words, _make_product


@pytest.mark.parametrize("error", [SafetensorError("I/O error: No space left on device"), OSError("No space left")])
def test_an_export_onto_a_full_disk(error: Exception, tmp_path: Path) -> None:
    def make(*_: object) -> None:
        raise error

    product = SimpleNamespace(path=tmp_path / "student", make=make)
    stage: Any = SimpleNamespace(
        product=product, trainee=SimpleNamespace(student=torch.nn.Linear(999, 1)), output=tmp_path
    )
    trainees: Any = {}
    with pytest.raises(OSError, match=r"student cannot be written: .*No space left.* It takes about 4 kB, and .* free"):
        _make_product(stage, trainees, None, {}, World(0, 1, torch.device("cpu")))


def test_which_weights_are_kept() -> None:
    said = _kept_in_words("dev/score", (180, 0.88123, 0.3), 3000, 0.5)
    assert said == "kept: step 180 of 3,000, dev score 0.8812 (before the first step 0.5000)"
    said = _kept_in_words("dev/score", (3, 0.5, 0.3), 9, 0.5)
    assert said.endswith(" (before the first step 0.5000: no gain by training)")
    said = _kept_in_words("dev_matched/score", (1, None, None), 3, 0.5)
    assert said == "kept: step 1 of 3, dev_matched score undefined"
