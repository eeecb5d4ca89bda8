"""The best weights of a run: which of several measurements count, and that a continued run chooses the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from megatinybert.runtime.dist import World
from megatinybert.training.best import Best


class Weights:
    """In place of a model: its weights are the step that it is at."""

    def __init__(self, folder: Path) -> None:
        self.step = 0
        self.exports: list[int] = []
        self.best = Best(folder, "dev/score", self.export, World(0, 1, torch.device("cpu")))

    def export(self, folder: Path, beside: Mapping[str, str]) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "weights").write_text(str(self.step))
        for name, text in beside.items():
            (folder / name).write_text(text)
        self.exports.append(self.step)

    def run(self, scores: Sequence[float], first_step: int = 0) -> Weights:
        """Measure after each step from `first_step` on."""
        for self.step in range(first_step + 1, len(scores) + 1):
            self.best.consider(self.step, {"dev/score": scores[self.step - 1], "held_out/total": -self.step})
        return self


@pytest.mark.parametrize(
    ("scores", "step", "exports"),
    [
        ([0.5, 0.7, 0.6], 2, [1, 2]),
        ([0.5, 0.7, 0.7, 0.7], 2, [1, 2]),  # the earlier of equals
        ([-0.3, -0.1, -0.2], 2, [1, 2]),
        ([math.nan, math.nan, -0.9, math.nan], 3, [1, 3]),  # undefined is below everything
        ([math.nan, math.nan], 1, [1]),
        ([0.0, math.nan], 1, [1]),
    ],
)
def test_the_first_of_the_highest_is_kept(scores: list[float], step: int, exports: list[int], tmp_path: Path) -> None:
    weights = Weights(tmp_path / "best").run(scores)
    value = scores[step - 1]
    assert weights.best.state() == (step, None if math.isnan(value) else value)
    assert (tmp_path / "best" / "weights").read_text() == str(step)
    assert weights.exports == exports


def test_the_file_is_json_that_says_what_was_measured(tmp_path: Path) -> None:
    assert Weights(tmp_path / "none").best.state() is None
    Weights(tmp_path / "best").run([math.nan])
    said = json.loads((tmp_path / "best" / "best.json").read_text(), parse_constant=pytest.fail)
    assert said == {"step": 1, "measured": "dev/score", "value": None}


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("checkpoint", [0, 2])
def test_a_continued_run_chooses_the_same(killed_after: int, checkpoint: int, tmp_path: Path) -> None:
    """It measures once more what came after its checkpoint."""
    scores = [0.4, 0.5, math.nan, 0.6, 0.6]
    whole = Weights(tmp_path / "whole").run(scores)
    Weights(tmp_path / "killed").run(scores[:killed_after])
    continued = Weights(tmp_path / "killed").run(scores, min(checkpoint, killed_after))
    assert continued.best.state() == whole.best.state() == (4, 0.6)
    for name in ("weights", "best.json"):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_what_is_forgotten_counts_no_more(tmp_path: Path) -> None:
    weights = Weights(tmp_path / "best").run([0.9])
    weights.best.forget()
    assert weights.best.state() is None and not (tmp_path / "best").exists()
    assert Weights(tmp_path / "best").run([0.2]).best.state() == (1, 0.2)
    Weights(tmp_path / "nothing").best.forget()
