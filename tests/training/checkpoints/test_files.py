"""No file of a checkpoint runs code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import LossScaler

from megatinybert.training.checkpoints.files import CheckpointFiles


class _Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(zipped: bool, tmp_path: Path) -> None:
    state = {"module": {"weight": torch.ones(3)}, "client": _Payload(tmp_path / "ran")}
    torch.save(state, tmp_path / "state.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"state.pt holds more than tensors and plain data"):
        CheckpointFiles().load(str(tmp_path / "state.pt"))
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "state.pt", weights_only=False)  # as DeepSpeed itself would
    assert (tmp_path / "ran").exists()


def test_what_deepspeed_writes_is_read(tmp_path: Path) -> None:
    files = CheckpointFiles()
    files.save({"scaler": LossScaler(2.0), "weights": torch.ones(3)}, str(tmp_path / "state.pt"))
    found = files.load(str(tmp_path / "state.pt"))
    assert found["scaler"].cur_scale == 2.0 and torch.equal(found["weights"], torch.ones(3))
    assert not files.problems


def test_a_checkpoint_holds_no_scripts(golden_run: Path) -> None:
    """DeepSpeed's copies of them are of rank 0 alone: where the disk is full, the others would wait for it."""
    files = [path for path in (golden_run / "checkpoints").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".pt", ".json"}


def test_a_write_that_fails_is_noted(tmp_path: Path) -> None:
    files = CheckpointFiles()
    (tmp_path / "file").write_text("")
    files.makedirs(str(tmp_path / "file" / "folder"))
    files.save({}, str(tmp_path / "file" / "folder" / "state.pt"))
    assert len(files.problems) == 2 and "state.pt cannot be written" in files.problems[1]
