"""Files that do not hold the state of the trainee are refused; test_convert.py reads those that do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from megatinybert.training.checkpoints.full_state import FullState, read_full_state
from tests.scripts.golden import STEPS

OPTIMIZER = "zero_pp_rank_0_mp_rank_00_optim_states.pt"


def remove(folder: Path) -> None:
    (folder / OPTIMIZER).unlink()


def add_a_rank(folder: Path) -> None:
    shutil.copy(folder / OPTIMIZER, folder / OPTIMIZER.replace("rank_0", "rank_1", 1))


def without_moments(folder: Path) -> None:
    content = torch.load(folder / OPTIMIZER, weights_only=False)
    content["optimizer_state_dict"]["base_optimizer_state"]["state"] = {}
    torch.save(content, folder / OPTIMIZER)


def merged_by_deepspeed(folder: Path) -> None:
    content = torch.load(folder / OPTIMIZER, weights_only=False)
    content["optimizer_state_dict"]["base_optimizer_state"] = []
    torch.save(content, folder / OPTIMIZER)


class Code:
    """What is called when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.getcwd, ()


def with_code(folder: Path) -> None:
    torch.save({"optimizer_state_dict": Code()}, folder / OPTIMIZER)


@pytest.fixture
def shapes(golden_run: Path) -> dict[str, torch.Size]:
    file = golden_run / "checkpoints" / f"step-{STEPS:08d}" / "student" / "mp_rank_00_model_states.pt"
    return {name: weight.shape for name, weight in torch.load(file, weights_only=False)["module"].items()}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove, r"it has optimizer files of the ranks \[\], not of 1"),
        (add_a_rank, r"it has optimizer files of the ranks \[0, 1\], not of 1"),
        (without_moments, r"not such files as expected: KeyError\('exp_avg'\)"),
        (merged_by_deepspeed, "it was written with zero_optimization.elastic_checkpoint"),
        (with_code, "holds more than tensors and plain data"),
    ],
)
def test_spoilt_files_are_refused(
    spoil: Callable[[Path], None], message: str, golden_run: Path, shapes: dict[str, torch.Size], tmp_path: Path
) -> None:
    folder = shutil.copytree(golden_run / "checkpoints" / f"step-{STEPS:08d}" / "student", tmp_path / "student")
    read_full_state(folder, 1, FullState(shapes))
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        read_full_state(folder, 1, FullState(shapes))
    assert str(caught.value).startswith(f"{folder} cannot be converted: ")


@pytest.mark.parametrize("change", ["one more", "one less", "larger", "smaller"])
def test_the_state_of_other_weights_is_refused(change: str, golden_run: Path, shapes: dict[str, torch.Size]) -> None:
    name = "objective.projections.0.bias"
    other = {
        "one more": {**shapes, "objective.more": torch.Size([3])},
        "one less": {key: shape for key, shape in shapes.items() if key != name},
        "larger": {**shapes, name: torch.Size([25])},
        "smaller": {**shapes, name: torch.Size([23])},
    }[change]
    message = {
        "one more": r"it has 0 of 3 elements of objective.more",
        "one less": f"it has a weight {name}, which the student has not",
        "larger": f"it has 24 of 25 elements of {name}",
        "smaller": rf"its {name} is larger than the student's, of the shape \(23,\)",
    }[change]
    with pytest.raises(ValueError, match=message):
        read_full_state(golden_run / "checkpoints" / f"step-{STEPS:08d}" / "student", 1, FullState(other))
