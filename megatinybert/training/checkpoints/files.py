"""A checkpoint's files, as DeepSpeed reads and writes them: no code of theirs runs, and failed writes are noted."""

from __future__ import annotations

import os
from pickle import UnpicklingError
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from megatinybert.training.checkpoints.snapshot import snapshot

# What DeepSpeed's files hold beside tensors and plain data. A pickle that names anything else is refused.
_PLAIN = (DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address)


class CheckpointFiles(TorchCheckpointEngine):
    """Loads tensors and plain data alone, whoever wrote them; DeepSpeed's own runs whatever a pickle says.

    A write that fails is noted in `problems`, not raised: ranks would wait for each other in vain in the middle of
    DeepSpeed's collectives.
    later: what is to be saved is only copied to host memory, for `write_copies`.
    """

    def __init__(self, later: bool = False) -> None:
        super().__init__()
        self.zipfile_serialization = True
        self.problems: list[str] = []
        self._later = later
        self._copies: list[tuple[Any, str]] = []

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        try:
            os.makedirs(path, exist_ok=exist_ok)
        except OSError as error:
            self.problems.append(str(error))

    def save(self, state_dict: Any, path: str) -> None:
        if not self._later:
            self._write(state_dict, path)
            return
        try:
            self._copies.append((snapshot(state_dict), path))
        except RuntimeError as error:
            self.problems.append(f"{path} cannot be copied to memory first: {str(error).splitlines()[0]}")

    def write_copies(self) -> None:
        """Write what was copied, and forget the copies."""
        while self._copies:
            self._write(*self._copies.pop(0))

    def _write(self, state_dict: Any, path: str) -> None:
        try:
            super().save(state_dict, path)
        except (OSError, RuntimeError) as error:  # torch's writer tells a full disk as the latter
            self.problems.append(f"{path} cannot be written: {str(error).splitlines()[0]}")

    def no_scripts(self, folder: str) -> None:
        """In place of DeepSpeed's copies of its conversion scripts, which rank 0 alone would fail to write."""

    def load(self, path: str, map_location: Any = None) -> Any:
        try:
            with torch.serialization.safe_globals(list(_PLAIN)):
                return torch.load(path, map_location=map_location, weights_only=True)
        except UnpicklingError as error:
            raise ValueError(
                f"{path} holds more than tensors and plain data, so it is no file of such a run, and is not read: "
                "it could run code"
            ) from error


def files_of(engine: DeepSpeedEngine, later: bool = False) -> CheckpointFiles:
    """The engine's reader and writer of files from now on. later: see there."""
    files = CheckpointFiles(later)
    engine.checkpoint_engine = files
    engine._copy_recovery_script = files.no_scripts
    return files
