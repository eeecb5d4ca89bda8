"""The output file in the making, and its record.

Beside FILE, a folder FILE.parts holds the plan and every finished chunk. At the end the chunks become FILE, then
FILE.meta.json is written, then the folder goes: a kill between any two of these costs nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from megatinybert.config.augment import OTHER_COPIES, PUBLISHED_COPIES, AugmentOptions
from megatinybert.config.flat import OptionNames
from megatinybert.corpus.manifest import Record, read_record
from megatinybert.runtime.differences import refuse_differences, removal
from megatinybert.runtime.files import file_sha256, publish_file, write_atomically
from megatinybert.tasks.reading.layout import given

if TYPE_CHECKING:  # else torch would be imported before a record can be read
    from megatinybert.tasks.augment.chunks import WrittenChunk

_PLAN = "plan.json"


class AugmentPlan(Record):
    """All that decides what is written, apart from rounding: options, and hashes of what is read."""

    format_version: Literal[1] = 1
    options: dict[str, bool | int | float | str | None]
    inputs: dict[str, str]


class Totals(Record):
    """rows: read, apart from those skipped; selected: to be rewritten; rows_out: written; words: new ones in them;
    by_vectors: those of them that are not the model's, None in a file by an earlier version, which did not count them.
    """

    rows: int
    selected: int
    skipped: int
    rows_out: int
    words: int
    by_vectors: int | None = None


class Meta(Record):
    """What FILE.meta.json says. bytes: of the file. seconds: of the last run that worked on it."""

    created_by: str
    plan: AugmentPlan
    totals: Totals
    bytes: int
    seconds: float


class Output:
    """One output file. Raises ValueError where there is one already that was made differently or by something else."""

    def __init__(self, path: Path, plan: AugmentPlan, resume: bool, names: OptionNames) -> None:
        """resume: continue what is unfinished. names: for messages."""
        self.path, self._plan, self._names = path, plan, names
        self._meta_path = _meta_of(path)
        self.parts = self.parts_of(path)
        self.finished = self._read_meta()
        if self.finished is None:
            self._open_parts(resume)

    @staticmethod
    def parts_of(path: Path) -> Path:
        """The folder of what is finished, while the file is not."""
        return path.with_name(path.name + ".parts")

    def has(self, index: int) -> bool:
        return self._part(index).is_file()

    def keep(self, chunk: WrittenChunk) -> None:
        """Make a finished chunk durable. Its first line counts what is in it: rows read, rows written, new words, and
        those of them by the vectors.
        """
        counts = f"{chunk.rows} {chunk.rows_out} {chunk.words} {chunk.by_vectors}\n"
        write_atomically(self._part(chunk.index), counts + chunk.lines)

    def publish(self, chunks: int, selected: int, skipped: int, created_by: str, seconds: float) -> Meta:
        """Put all chunks together."""
        counts: list[list[int]] = []
        temporary = self.parts / "whole"
        with temporary.open("wb") as whole:
            for index in range(chunks):
                with self._part(index).open("rb") as part:
                    counts.append([int(count) for count in part.readline().split()])
                    shutil.copyfileobj(part, whole)
        size = temporary.stat().st_size
        publish_file(temporary, self.path)
        # A chunk of an earlier version has no fourth count, and then there is no fourth sum.
        rows, rows_out, words, *more = map(sum, zip(*counts, strict=False))
        by_vectors = more[0] if more else None
        totals = Totals(
            rows=rows, selected=selected, skipped=skipped, rows_out=rows_out, words=words, by_vectors=by_vectors
        )
        meta = Meta(created_by=created_by, plan=self._plan, totals=totals, bytes=size, seconds=round(seconds, 1))
        write_atomically(self._meta_path, meta.model_dump_json(indent=1) + "\n")
        shutil.rmtree(self.parts)
        return meta

    def _part(self, index: int) -> Path:
        return self.parts / f"{index:06d}.jsonl"

    def _read_meta(self) -> Meta | None:
        if not self._meta_path.is_file():
            if self.path.exists() and not self.parts.is_dir():
                raise ValueError(
                    f"{self.path} is there already and was not made here (there is no {self._meta_path.name} beside "
                    f"it): choose another {self._names['output']}"
                )
            return None
        meta = read_record(Meta, self._meta_path)
        if not self.path.exists() and meta.plan != self._plan:
            return None  # removed, to be rebuilt
        refuse_other_plan(self.path, meta.plan, self._plan, self._names)
        if not self.path.is_file() or self.path.stat().st_size != meta.bytes:
            raise ValueError(
                f"{self.path} is gone or changed since it was made ({meta.bytes:,} bytes then): delete it and "
                f"{self._meta_path.name}, and it will be made again"
            )
        shutil.rmtree(self.parts, ignore_errors=True)
        return meta

    def _open_parts(self, resume: bool) -> None:
        plan_path = self.parts / _PLAN
        begun = _is_begun(self.parts)
        if begun and not resume:
            raise ValueError(
                f"{self.path} is unfinished: to continue it, add {self._names['resume']}; or delete {self.parts}"
            )
        then = read_record(AugmentPlan, plan_path) if plan_path.is_file() else None
        if begun and then is not None:
            refuse_other_beginning(self.path, then, self._plan, self._names)
        elif then != self._plan:
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(parents=True)
            write_atomically(plan_path, self._plan.model_dump_json(indent=1))


def copies_of(options: AugmentOptions, task: str) -> int:
    """Of each row, at most. task: its name in the table of tasks."""
    return options.copies or PUBLISHED_COPIES.get(task, OTHER_COPIES)


def options_in_plan(
    options: AugmentOptions, task: str, labels: Sequence[str] | None
) -> dict[str, bool | int | float | str | None]:
    """task: as of `copies_of`. labels: its classes, None of scores."""
    return {
        "task": task,
        "labels": None if labels is None else " ".join(labels),
        "copies": copies_of(options, task),
        "probability": options.probability,
        "candidates": options.candidates,
        "segmenter": options.segmenter,
        "rows": options.rows,
        "seed": options.seed,
        "skip_bad_rows": options.skip_bad_rows,
        **given(options),
    }


def rows_key(path: Path) -> str:
    """Tells a training file from others."""
    return f"{path.name} {file_sha256(path)[:16]}"


def plan_of(path: Path) -> AugmentPlan | None:
    """What the finished file was made by; None of a file that is not from here."""
    meta = _meta_of(path)
    return read_record(Meta, meta).plan if meta.is_file() else None


def begun_plan_of(path: Path) -> AugmentPlan | None:
    """What the chunks of an unfinished file were made by; None where there are none."""
    parts = Output.parts_of(path)
    return read_record(AugmentPlan, parts / _PLAN) if _is_begun(parts) and (parts / _PLAN).is_file() else None


def _is_begun(parts: Path) -> bool:
    return any(parts.glob("[0-9]*.jsonl"))


def _meta_of(path: Path) -> Path:
    return path.with_name(path.name + ".meta.json")


def refuse_other_plan(
    path: Path, then: AugmentPlan, now: AugmentPlan, names: OptionNames, later: Sequence[Path] = ()
) -> None:
    """Raise ValueError where a file was made by another plan, with a line for each difference. later: folders of what
    was made from it.
    """
    _refuse(f"{path} is there already, made otherwise", then, now, removal([path], later), names)


def refuse_other_beginning(path: Path, then: AugmentPlan, now: AugmentPlan, names: OptionNames) -> None:
    """The same of a file that is unfinished."""
    _refuse(f"{path} was begun otherwise", then, now, removal([Output.parts_of(path)]), names)


def _refuse(what: str, then: AugmentPlan, now: AugmentPlan, removed: str, names: OptionNames) -> None:
    before, after = ({names[key]: value for key, value in (plan.options | plan.inputs).items()} for plan in (then, now))
    remedy = f"use the same options and files, {removed}, or choose another {names['output']}"
    refuse_differences(what, before, after, remedy)
