"""A teacher's answers to the rows of a task, computed once and kept beside the stage that learns them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import publish_file, write_atomically
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.runtime.stopwatch import duration
from megatinybert.samples.batches import as_tensors
from megatinybert.tasks.answering import MULTIPLE, Answering
from megatinybert.tasks.rows import EncodedRows
from megatinybert.training.disk import size

FOLDER = "teacher-answers"  # beside a stage's checkpoints
_BATCH_TOKENS, _BATCHES_PER_FILE = 4096, 128
_MANIFEST, _LOGITS, _CHECKSUM = "manifest.json", "logits", "crc32"


def answered(
    rows: Mapping[str, EncodedRows], teacher: Answering, folder: Path, passes: float, world: World
) -> dict[str, EncodedRows]:
    """The same rows with the teacher's logits, read from `folder` as far as they are there, else computed and written.

    rows: by the name of their folder. passes: over the first of them that read the logits. Every rank calls it.
    Raises ValueError where a logit is not finite.
    """
    kept = {name: KeptAnswers(folder / name, teacher, own) for name, own in rows.items()}
    known = {name: world.first(each.read) for name, each in kept.items()}
    missing = {name: [n for n in range(len(each.files)) if n not in known[name]] for name, each in kept.items()}
    count = sum(len(each) for each in rows.values())
    lacking = sum(kept[name].count(numbers) for name, numbers in missing.items())
    if lacking:
        batches = sum(len(kept[name].files[n]) for name, numbers in missing.items() for n in numbers)
        seconds = batches / world.size * _seconds_of_a_batch(next(iter(kept.values())), world)
        stored = sum(each.bytes for each in kept.values())
        again = "" if lacking == count else f", of which {count - lacking:,} are there already,"
        world.say(
            f"teacher: its answers to {counted(count, 'row')} ({size(stored)}){again} are computed once, for "
            f"{passes:.3g} passes over them, and kept in {folder}: about {duration(seconds, digits=1)}"
        )
    else:
        world.say(f"teacher: its answers to {counted(count, 'row')} are read from {folder}")
    found = {}
    with progress_bar(lacking, "row", desc="teacher's answers", disable=not (world.is_main and lacking)) as bar:
        for name, each in kept.items():
            for number in missing[name]:
                known[name][number] = each.compute(number, world)
                bar.update(each.count([number]))
            found[name] = replace(rows[name], answers=each.in_order(known[name]))
    return found


def _seconds_of_a_batch(kept: KeptAnswers, world: World) -> float:
    began = time.perf_counter()
    kept.logits(kept.files[0][0], world).cpu()
    return time.perf_counter() - began


@dataclass(frozen=True)
class KeptAnswers:
    """A teacher's logits of N rows, float32 (N, C), as files that each hold those of some batches of like length.

    A file has its own checksum. The manifest says what decides the logits; where that differs, nothing is read.
    """

    folder: Path
    teacher: Answering
    rows: EncodedRows

    @cached_property
    def files(self) -> list[Sequence[np.ndarray]]:
        """The row numbers of each batch, by file."""
        batches = list(self.rows.by_length(_BATCH_TOKENS))
        return [batches[start : start + _BATCHES_PER_FILE] for start in range(0, len(batches), _BATCHES_PER_FILE)]

    @property
    def manifest(self) -> dict[str, Any]:
        config = self.teacher.model.config.to_dict()
        shape = {key: value for key, value in config.items() if key not in ("_name_or_path", "transformers_version")}
        return {
            "teacher": self.teacher.fingerprint,
            "teacher checksum": self.teacher.checksum,
            "teacher configuration": hashlib.sha256(
                json.dumps(shape, sort_keys=True, default=str).encode()
            ).hexdigest(),
            "teacher.dtype": str(self.teacher.model.dtype),
            "rows": self.rows.identity,
            "rows of a pass": self.teacher.rows,
            "lengths of a pass": MULTIPLE,
            "tokens of a batch": _BATCH_TOKENS,
            "batches of a file": _BATCHES_PER_FILE,
        }

    @property
    def outputs(self) -> int:
        outputs: int = self.teacher.model.config.num_labels
        return outputs

    @property
    def bytes(self) -> int:
        return 4 * self.outputs * len(self.rows)

    def count(self, numbers: Sequence[int]) -> int:
        """How many rows the files of these numbers hold."""
        return sum(len(ids) for number in numbers for ids in self.files[number])

    def read(self) -> dict[int, np.ndarray]:
        """The logits of each whole file, by its number: float32 (n, C). Rank 0 calls it.

        What was made of something else is removed.
        """
        manifest = self.folder / _MANIFEST
        try:
            made_of = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            made_of = None
        if made_of != self.manifest:
            shutil.rmtree(self.folder, ignore_errors=True)
            return {}
        read = {number: self._read(number) for number in range(len(self.files))}
        return {number: logits for number, logits in read.items() if logits is not None}

    def logits(self, ids: np.ndarray, world: World) -> Tensor:
        """The teacher's, for the rows of these numbers: float32 (B, C) on the world's device."""
        logits = self.teacher.features(as_tensors(self.rows.batch(ids), world.device)).logits
        assert logits is not None
        return logits.float()

    def compute(self, number: int, world: World) -> np.ndarray:
        """The logits of a file, float32 (n, C), which is written; a full disk is told and does not matter.

        Every rank calls it and computes its share of the batches. Raises ValueError where a logit is not finite.
        """
        own = []
        for index, ids in enumerate(self.files[number]):
            mine = index % world.size == world.rank
            own.append(self.logits(ids, world) if mine else torch.zeros(len(ids), self.outputs, device=world.device))
        logits = world.sum(torch.cat(own)).cpu().numpy()
        bad = ~np.isfinite(logits).all(axis=1)
        if bad.any():
            first = int(np.concatenate(self.files[number])[bad].min()) + 1
            raise ValueError(
                f"the teacher's answers to {bad.sum():,} rows are not finite, the first of them row {first:,}: its "
                f"weights are damaged, or too large for {self.teacher.model.dtype}"
            )
        problem = world.first(lambda: self._write(number, logits))
        if problem:
            world.say(f"warning: the teacher's answers are not kept: {problem}; they will be computed again")
        return logits

    def in_order(self, files: Mapping[int, np.ndarray]) -> np.ndarray:
        """Those of all files in the rows' order: float32 (N, C)."""
        answers = np.empty((len(self.rows), self.outputs), dtype=np.float32)
        for number, batches in enumerate(self.files):
            answers[np.concatenate(batches)] = files[number]
        return answers

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.safetensors"

    def _write(self, number: int, logits: np.ndarray) -> str | None:
        """What went wrong, if anything."""
        path = self._path(number)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            if not (self.folder / _MANIFEST).is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / _MANIFEST, json.dumps(self.manifest, indent=2) + "\n")
            save_file({_LOGITS: logits}, temporary, metadata={_CHECKSUM: _checksum(logits)})
            publish_file(temporary, path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            return str(error)
        return None

    def _read(self, number: int) -> np.ndarray | None:
        """None where the file is not there, or damaged."""
        try:
            with safe_open(self._path(number), framework="np") as file:
                logits, whole = file.get_tensor(_LOGITS), file.metadata()[_CHECKSUM]
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        fits = logits.shape == (self.count([number]), self.outputs) and _checksum(logits) == whole
        return logits if fits else None


def _checksum(logits: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(logits).data):08x}"
