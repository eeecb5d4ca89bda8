"""Saves a run's checkpoints, at once or beside training.

Beside training, each rank copies its state to host memory, and a thread of it writes the copy. Once all ranks have
written, as they tell each other in the store where they met, rank 0's thread records and publishes the checkpoint.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed import PrefixStore

from megatinybert.runtime.dist import World, is_raised_by_all
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.checkpoint import NotSaved
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.disk import not_saved
from megatinybert.training.stage import STUDENT, Facts, Family

_LOOK = 0.05  # seconds between looks whether all ranks have written
_BETWEEN_MEETINGS = 0.2  # seconds, of ranks that wait for a save


@dataclass(frozen=True)
class _Save:
    """One save. folders: unpublished, of each member, with the facts to record; writers: of this rank's files."""

    step: int
    began: float
    folders: Mapping[Path, Facts]
    writers: Sequence[CheckpointFiles]


class Saver:
    """The checkpoints of a run's students, each of which has its own, of the same steps, as a run of its own would.

    last: the step of the newest one, 0 where there is none, as rank 0 knows it. Never are two saves under way at once.
    As a context manager it finishes the one that is under way, or drops it where not all ranks end together.
    """

    def __init__(self, family: Family, trainees: Trainees, world: World, last: int) -> None:
        """last: the step that the run continues from."""
        self.last, self._longest = last, 0.0
        self._family, self._trainees, self._world = family, trainees, world
        self._thread = ThreadPoolExecutor(1, "saving")
        self._pending: tuple[_Save, Future[None]] | None = None
        self._given_up = threading.Event()
        self._count = 0
        self._store = PrefixStore("saving", world.store.clone()) if world.store else None  # type: ignore[attr-defined]

    def save(self, step: int, facts: Mapping[str, Facts], at_once: bool) -> None:
        """Save the state of all members after `step` steps, or say why it cannot be. Every rank calls it.

        It waits for the save before. facts: of each member. at_once: not beside training.
        """
        self.finish()
        began, members = time.monotonic(), self._family.members
        folders = {name: checkpoint.unpublished(stage.checkpoints, step) for name, stage in members.items()}
        try:
            writers: list[CheckpointFiles] = []
            for name, folder in folders.items():
                one = Trainees({STUDENT: self._trainees[name]})
                writers += checkpoint.hand_over(folder, one, self._world, later=not at_once)
            save = _Save(step, began, {folder: facts[name] for name, folder in folders.items()}, writers)
            if not at_once:
                self._count += 1
                self._pending = save, self._thread.submit(self._write, save, self._count)
                return
            self._publish(save, self._world)
            self._world.barrier()
        except NotSaved as error:
            checkpoint.drop(folders.values(), self._world)
            self._say(step, error)
        else:
            self.last = step

    def look(self) -> None:
        """Say how the save that is under way has ended, if it has."""
        if self._pending and self._pending[1].done():
            self._conclude()

    def finish(self) -> None:
        """Wait for the save that is under way, if one is. Every rank calls it.

        Meanwhile they meet again and again, so that one that is lost is noticed.
        """
        while self._world.count(self._pending is not None):
            if self._pending:
                wait([self._pending[1]], _BETWEEN_MEETINGS)
            self.look()

    def _conclude(self) -> None:
        """Say how the save that is under way ends, which is waited for."""
        if self._pending is None:
            return
        (save, written), self._pending = self._pending, None
        try:
            written.result()
        except NotSaved as error:
            self._say(save.step, error)
        else:
            self.last, self._longest = save.step, max(self._longest, time.monotonic() - save.began)

    @property
    def seconds(self) -> float:
        """How long a save beside training takes, as far as it is known; 0 where there was none."""
        return max(self._longest, time.monotonic() - self._pending[0].began) if self._pending else self._longest

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or is_raised_by_all(error):
            self.finish()
        elif self._world.size > 1:
            self._given_up.set()
        self._conclude()
        self._thread.shutdown()

    def _write(self, save: _Save, number: int) -> None:
        """In the thread. number: of the save, the same on all ranks. Raises NotSaved, on rank 0 for all ranks."""
        alone = World(0, 1, torch.device("cpu"))
        try:
            for writer in save.writers:
                writer.write_copies()
            problems = self._gather(number, [text for writer in save.writers for text in writer.problems])
            if problems:
                raise NotSaved(problems[0])
            if self._world.is_main:
                self._publish(save, alone)
        except Exception as error:
            if self._world.is_main:
                checkpoint.drop(save.folders, alone)
            raise NotSaved(str(error)) from error

    def _gather(self, number: int, problems: list[str]) -> list[str]:
        """The problems of all ranks, on rank 0, once all have written; on others their own."""
        if self._store is None:
            return problems
        keys = [f"{number}/{rank}" for rank in range(self._world.size)]
        self._store.set(keys[self._world.rank], json.dumps(problems))
        if not self._world.is_main:
            return problems
        while not self._store.check(keys):
            if self._given_up.wait(_LOOK):
                raise NotSaved("the run ended before all ranks had written")
        return [text for value in self._store.multi_get(keys) for text in json.loads(value)]

    def _publish(self, save: _Save, world: World) -> None:
        """Record and publish what all ranks have written, and only then remove earlier ones."""
        run = self._family.first.config.run
        for folder, facts in save.folders.items():
            checkpoint.seal(folder, save.step, dict(facts), world)
        for path in checkpoint.publish(list(save.folders), world):
            if world.is_main:
                checkpoint.prune(path.parent, path, run.keep_checkpoints, run.keep_every)
                checkpoint.drop(path.parent.glob(f"step-*{checkpoint.UNPUBLISHED}"), world)

    def _say(self, step: int, error: NotSaved) -> None:
        needed = self._family.checkpoint_bytes
        text = not_saved(error, step, needed, self._family.output)
        if self._given_up.is_set():
            text = f"the checkpoint of step {step:,} was being written, and is dropped"
        newest = f"the newest checkpoint is of step {self.last:,}" if self.last else "there is no checkpoint yet"
        self._world.say(f"\nwarning: {text}; {newest}")
