"""What solving a student came to (`solved.json`), for report and model card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.stopwatch import duration

SOLVED_FILE = "solved.json"  # in a run's output folder, beside metrics.jsonl


@dataclass(frozen=True)
class SolvingRecord:
    """The numbers of a `student.Solution`, described there. seconds: wall time."""

    tokens: int
    seconds: float
    kept: float
    errors: list[float]


def write_record(folder: Path, record: SolvingRecord) -> None:
    """Write solved.json, in place of that of an earlier run. One rank calls it; `folder` is there."""
    write_atomically(folder / SOLVED_FILE, json.dumps(asdict(record), indent=2) + "\n")


def read_record(folder: Path) -> SolvingRecord | None:
    """The record in a run's output folder; None where there is none. Raises ValueError where it is damaged."""
    file = folder / SOLVED_FILE
    if not file.is_file():
        return None
    try:
        return SolvingRecord(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as problem:
        raise ValueError(f"{file} is damaged ({problem}): delete it, and solving is reported without it") from problem


def what_solving_gave(record: SolvingRecord | None, total: float, probe: float | None) -> str:
    """The beginning of a sentence. record: None of a run without one. total, probe: held-out values at step 0."""
    spent = f", on {record.tokens:,} tokens in {duration(record.seconds)}," if record else ""
    beside = "" if probe is None else f" and a probe of {probe:.3f}"
    return f"Solving alone{spent} gave a held-out total of {total:#.4g}{beside}"
