"""Atomic checkpoints, and the best weights of a run.

A checkpoint is written under a temporary name by all ranks; when all have finished, rank 0 records every file with
size and checksum in state.json and renames the folder, which publishes it. DeepSpeed's own `latest` is written before
the other ranks are done, so it is not used. Layout: checkpoints/step-00000100/{state.json, <trainee>/<DeepSpeed's>}.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatinybert.runtime.files import file_crc32, publish_folder, sync_folder, write_atomically
from megatinybert.runtime.trainees import Trainees

if TYPE_CHECKING:  # else torch would be imported before the record of a checkpoint can be read
    from megatinybert.runtime.dist import World
    from megatinybert.training.checkpoints.files import CheckpointFiles

UNPUBLISHED = ".tmp"  # ends the name of a checkpoint that is being written
_STATE = "state.json"  # of a checkpoint
_METRICS = "metrics.jsonl"  # of a run
_BEST = "best.json"  # of the best weights


class NotSaved(OSError):
    """A checkpoint could not be written; all ranks raise it, and earlier ones are as they were."""


def save(
    folder: Path,
    trainees: Trainees,
    step: int,
    facts: dict[str, Any],
    world: World,
    keep: int,
    every: int | None = None,
) -> None:
    """Publish the state of `trainees` after `step` steps, and remove earlier ones (`prune`). Every rank calls it.

    facts: what a run that continues from here must have in common (`same_run.check_facts`). Raises NotSaved.
    """
    temporary = unpublished(folder, step)
    hand_over(temporary, trainees, world)
    seal(temporary, step, facts, world)
    (final,) = publish([temporary], world)
    if world.is_main:
        prune(folder, final, keep, every)
    world.barrier()


def hand_over(folder: Path, trainees: Trainees, world: World, later: bool = False) -> list[CheckpointFiles]:
    """Write the state of `trainees` to an unpublished folder, without the record; or copy it, to be written later.

    Every rank calls it. Returns who writes. Raises NotSaved.
    """
    from megatinybert.training.checkpoints.files import files_of

    with _dropped_on_failure([folder], world):
        world.together(lambda: _empty(folder) if world.is_main else None)
        writers = []
        for name, engine in trainees.items():
            writers.append(files_of(engine, later))
            engine.save_checkpoint(str(folder), tag=name, save_latest=False)
            world.refuse(writers[-1].problems[:1])  # all ranks meet here, with or without problems
        return writers


def seal(folder: Path, step: int, facts: dict[str, Any], world: World) -> None:
    """Record an unpublished checkpoint's files, which all ranks have written. Raises NotSaved."""
    with _dropped_on_failure([folder], world):
        world.together(lambda: _write_state(folder, step, facts) if world.is_main else None)


def publish(temporaries: Sequence[Path], world: World) -> list[Path]:
    """Give what was written its names, which are returned. Raises NotSaved where one cannot have it; none has then."""
    finals = [path.with_name(path.name.removesuffix(UNPUBLISHED)) for path in temporaries]
    done = [*temporaries]  # to be dropped with those that have their names
    with _dropped_on_failure(done, world):
        world.together(lambda: _publish(temporaries, finals, done) if world.is_main else None)
    return finals


def drop(checkpoints: Iterable[Path], world: World) -> None:
    """Remove them, as far as that can be done. Rank 0 does it."""
    for path in checkpoints if world.is_main else ():
        shutil.rmtree(path, ignore_errors=True)


def name_of(step: int) -> str:
    """Of a checkpoint's folder."""
    return f"step-{step:08d}"


def unpublished(folder: Path, step: int) -> Path:
    """Where a checkpoint is written, in the folder of a run's checkpoints."""
    return folder / f"{name_of(step)}{UNPUBLISHED}"


def prune(folder: Path, newest: Path, keep: int, every: int | None = None) -> None:
    """Remove undamaged checkpoints but for the newest `keep`, of which `newest`, the one just written, is one, and for
    those that stay (`stays`).

    Damaged ones do not count, and stay: a run that passes them over has set them aside, and a person may want them.
    """
    whole = [path for path in _published(folder) if path != newest and damage(path, checksums=False) is None]
    for old in whole[: max(len(whole) - (keep - 1), 0)]:
        if not stays(_number(old), every):
            shutil.rmtree(old, ignore_errors=True)


def stays(step: int, every: int | None) -> bool:
    """Whether a checkpoint is kept however many newer ones there are: of steps that are multiples of `every`, but for
    that of step 0, which is for the first steps alone.
    """
    return bool(every and step and step % every == 0)


def steps_in(folder: Path) -> dict[int, Path]:
    """The checkpoints of a run by step, oldest first, damaged or not."""
    return {_number(path): path for path in _published(folder)}


def newest(folder: Path, checksums: bool = True) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run, or None; and a line about each newer one that is not whole."""
    passed_over: list[str] = []
    for path in reversed(_published(folder)):
        problem = damage(path, checksums)
        if problem is None:
            return path, passed_over
        passed_over.append(f"{path} is not whole ({problem})")
    return None, passed_over


def damage(path: Path, checksums: bool = True) -> str | None:
    """What is wrong with a checkpoint's files, or None where it is whole.

    checksums: read every file, at 1 to 2 GB/s from memory; without, its size is all that is looked at.
    """
    try:
        files = _read(path)["files"]
    except (OSError, ValueError, KeyError) as error:
        return f"{_STATE} cannot be read: {error}"
    for name, written in files.items():
        # Before checksums were written, a file's size was all that was.
        size, checksum = (written, None) if isinstance(written, int) else (written["bytes"], written["crc32"])
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
        try:
            found = file_crc32(file) if checksums and checksum else checksum
        except OSError as error:
            return f"{name} cannot be read: {error}"
        if found != checksum:
            return f"{name} has other content than was written: its CRC-32 is {found}, not {checksum}"
    return None


def read_state(path: Path) -> tuple[int, dict[str, Any]]:
    """(steps done, facts) of a checkpoint."""
    state = _read(path)
    return state["step"], state["facts"]


def set_aside(output: Path, step: int) -> str | None:
    """Move the checkpoints of later steps than `step` out of a run's way, with a copy of its metrics.

    They would be taken for newer ones of the run that continues from `step`. output: the run's folder. Returns what to
    tell the person, None where there are none.
    """
    later = [path for path in _published(output / "checkpoints") if _number(path) > step]
    if not later:
        return None
    aside = next(path for n in itertools.count(1) if not (path := output / f"set-aside-{n}").exists())
    (aside / "checkpoints").mkdir(parents=True)
    if (output / _METRICS).exists():
        shutil.copy2(output / _METRICS, aside / _METRICS)
    for path in reversed(later):
        path.rename(aside / "checkpoints" / path.name)
    sync_folder(aside / "checkpoints")
    sync_folder(output / "checkpoints")
    names = ", ".join(path.name for path in later)
    return f"{output} goes on from step {step:,}: its later checkpoints ({names}) and metrics are set aside in {aside}"


def load(path: Path, trainees: Trainees) -> None:
    """Restore weights and optimizer state. Raises ValueError for files that hold more than such (`CheckpointFiles`)."""
    from megatinybert.training.checkpoints.files import files_of

    for name, engine in trainees.items():
        files_of(engine)
        loaded, _ = engine.load_checkpoint(str(path), tag=name)
        if loaded is None:
            raise ValueError(f"{path}: DeepSpeed found no state of {name} there")


@dataclass(frozen=True)
class Best:
    """Keeps the weights at which the measurement `tag` was highest, among equals those of the lowest loss there.

    folder: of the exported model, with its step, value and loss in best.json. export: writes the weights as they are,
    with files of these names and texts, to a folder, in place of what stood there; every rank calls it. A continued run
    measures the same values again, so it comes to the same choice.
    """

    folder: Path
    tag: str
    export: Callable[[Path, Mapping[str, str]], None]
    world: World

    def consider(self, step: int, measurement: Mapping[str, float]) -> None:
        """Keep the present weights where they are the best so far."""
        found = measurement[self.tag], measurement["held_out/total"]
        value, loss = (each if math.isfinite(each) else None for each in found)
        known = self.world.first(self.state)  # other ranks could read what rank 0 is about to write
        if known is None or _rank(value, loss) > _rank(*known[1:]):
            state = {"step": step, "measured": self.tag, "value": value, "loss": loss}
            self.export(self.folder, {_BEST: json.dumps(state, indent=2) + "\n"})

    def forget(self) -> None:
        """Take away what is kept, for a new run. One rank calls it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def state(self) -> tuple[int, float | None, float | None] | None:
        """(step, value, loss) of what is kept, with None for what is undefined; None where nothing is kept."""
        file = self.folder / _BEST
        if not file.exists():
            return None
        state = json.loads(file.read_text(encoding="utf-8"))
        return state["step"], state["value"], state.get("loss")  # which earlier versions did not note


@contextlib.contextmanager
def _dropped_on_failure(checkpoints: Sequence[Path], world: World) -> Iterator[None]:
    """Remove what is unfinished and raise NotSaved where something inside fails, as it does on all ranks."""
    try:
        yield
    except (ValueError, OSError) as error:
        drop(checkpoints, world)
        raise NotSaved(str(error)) from error


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _publish(temporaries: Sequence[Path], finals: Sequence[Path], done: list[Path]) -> None:
    """done: gets those that have their name."""
    for temporary, final in zip(temporaries, finals, strict=True):
        publish_folder(temporary, final)
        done.append(final)


def _write_state(folder: Path, step: int, facts: dict[str, Any]) -> None:
    """Record a checkpoint's files, each with size and checksum, and the record's own checksum."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "crc32": file_crc32(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    state = {"step": step, "facts": facts, "files": files}
    state["crc32"] = _crc32_of(state)
    write_atomically(folder / _STATE, json.dumps(state, indent=2, sort_keys=True))


def _read(path: Path) -> dict[str, Any]:
    """A checkpoint's record. Raises ValueError where it is damaged."""
    state: dict[str, Any] = json.loads((path / _STATE).read_text(encoding="utf-8"))
    if "crc32" in state and state["crc32"] != _crc32_of({k: v for k, v in state.items() if k != "crc32"}):
        raise ValueError("it has other content than was written")
    return state


def _crc32_of(state: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(state, sort_keys=True).encode()):08x}"


def _published(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first, damaged or not."""
    return sorted((path for path in folder.glob("step-*") if path.is_dir() and path.name[5:].isdigit()), key=_number)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name[5:])


def _rank(value: float | None, loss: float | None) -> tuple[float, float]:
    """Larger of better weights. None: undefined, which is below everything."""
    return -math.inf if value is None else value, -math.inf if loss is None else -loss
