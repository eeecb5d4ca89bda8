"""The report of a run as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from megatinybert.programs.found import TOP
from megatinybert.runtime.counts import counted, counted_tokens, times
from megatinybert.runtime.text_table import format_table
from megatinybert.runtime.waiting import on_times
from megatinybert.tracking.measurements import ACCURACY, BESIDE_LOSSES, PROBE, PROJECTED
from megatinybert.tracking.remarks import on_what_got_worse, row_of

if TYPE_CHECKING:
    from megatinybert.training.solve.record import SolvingRecord

TIMED_RUNS = 9  # of the speed measurement
_SHARED = f"top {TOP} shared with teacher"
FACTS: dict[str, Callable[[ModelFacts], str]] = {
    "layers x width": lambda model: f"{model.layers} x {model.hidden_size}",
    "parameters": lambda model: f"{model.parameters:,}",
    "weights in float32": lambda model: f"{model.megabytes:.1f} MB",
    "one batch, on the CPU": lambda model: f"{model.milliseconds:.1f} ms",
}


@dataclass(frozen=True)
class ModelFacts:
    """One encoder: its shape, its size, and the median time of one forward pass on this CPU in float32.

    waited: what part of the time in which this and the others were timed they waited for a core.
    """

    name: str
    layers: int
    hidden_size: int
    parameters: int
    megabytes: float  # of the weights in float32; 1 MB is 10^6 bytes
    milliseconds: float
    waited: float = 0.0


@dataclass(frozen=True)
class Report:
    """The numbers of a run. Pairs are (at the first step, at the last).

    teacher, speed_up, probe: None of masked-language modelling, which has no teacher; accuracy: of that alone.
    projected_probe: of the student's states after the projection, where the objective learns one. advice: which of the
    two to use for what. few_steps: whether the steps were too few at their learning rate. on_first_losses: of
    a solved student, why its losses in training begin below held-out ones, where they do. on_no_probe: why there is no
    probe, where a teacher has none. masked_tokens: that the accuracy is measured on. probe_chance: how far two
    probes differ by it.
    is_solved: whether the student's first weights were solved, so that the first values are what solving gave; solving:
    its record, where the run left one. training_seconds: spent on steps, where all are logged. shared_top: share of the
    teacher's TOP nearest passages that the student finds, where megatinybert.search was run; shared_of: what it is of.
    """

    steps: int  # that changed the weights
    tokens: int  # that the student was trained on
    teacher: ModelFacts | None
    student: ModelFacts
    speed_up: float | None
    speed_batch: int  # sentences
    speed_length: int  # tokens a sentence
    speed_threads: int
    held_out: dict[str, tuple[float, float]]  # "total" and the groups of terms
    probe: tuple[float, float] | None
    accuracy: tuple[float, float] | None = None
    is_solved: bool = False
    solving: SolvingRecord | None = None
    training_seconds: float | None = None
    shared_top: float | None = None
    shared_of: str | None = None
    projected_probe: tuple[float, float] | None = None
    advice: str | None = None
    few_steps: bool = False
    on_first_losses: str | None = None
    on_no_probe: str | None = None
    masked_tokens: float | None = None
    probe_chance: float = 0.0

    @property
    def beside(self) -> dict[str, tuple[float, float]]:
        """By tag, what is measured beside the losses."""
        pairs = {PROBE: self.probe, PROJECTED: self.projected_probe, ACCURACY: self.accuracy}
        return {tag: pair for tag, pair in pairs.items() if pair}


def table(report: Report) -> str:
    """The report as text for a terminal."""
    turns = ", the two models in turn" if report.teacher else ""
    solved = report.is_solved and report.teacher
    rows = _rows_of_solved(report, solved) if solved else _rows(report)
    trained = f"Trained for {counted(report.steps, 'step')} on {counted_tokens(report.tokens)}."
    lines = [
        format_table(rows, right_aligned=range(1, len(rows[0]) - 1)),
        "",
        _what_each_gave(report) if solved else trained,
        *([report.on_first_losses] if report.on_first_losses else []),
        *what_got_worse(report),
        f"One batch: median of {TIMED_RUNS} float32 runs of {report.speed_batch} sentences of "
        f"{report.speed_length} tokens on {counted(report.speed_threads, 'thread')}{turns}.",
        *on_times(report.student.waited),
        *(f"{BESIDE_LOSSES[tag].row.capitalize()}: {BESIDE_LOSSES[tag].meaning}." for tag in report.beside),
        *([report.on_no_probe] if report.on_no_probe else []),
        *([f"{_SHARED.capitalize()}: {report.shared_of}."] if report.shared_of else []),
        *([report.advice] if report.advice else []),
    ]
    return "\n".join(lines)


def _rows(report: Report) -> list[list[str]]:
    """At the start and at the end; the part about the models has one column of numbers where there is no teacher."""
    student, teacher, notes = report.student, report.teacher, _notes(report)
    if teacher is None:
        sizes = [["", "model", "", ""], *([name, show(student), "", ""] for name, show in FACTS.items())]
    else:
        sizes = [["", "teacher", "student", ""]]
        sizes += [[name, show(teacher), show(student), notes.get(name, "")] for name, show in FACTS.items()]
    rows = [*sizes, [""] * 4, ["on held-out text", "at the start", "at the end", ""]]
    rows += [[name, before, after, note] for name, before, after, note in _changes(report, "the start")]
    if report.shared_top is not None:
        rows.append([_SHARED, "", f"{report.shared_top:.3f}", ""])
    return rows


def _rows_of_solved(report: Report, teacher: ModelFacts) -> list[list[str]]:
    """Solved, trained and teacher side by side. The teacher agrees with itself wholly; its losses say nothing."""
    student, notes = report.student, _notes(report)
    rows = [["", "solved", "trained", "teacher", ""]]
    for name, show in FACTS.items():
        rows.append([name, show(student), show(student), show(teacher), notes.get(name, "")])
    rows += [[""] * 5, ["on held-out text", "", "", "", ""]]
    for name, before, after, note in _changes(report, "solved"):
        rows.append([name, before, after, "-" if name.startswith("loss") else "1.000", note])
    if report.shared_top is not None:
        rows.append([_SHARED, "-", f"{report.shared_top:.3f}", "1.000", ""])
    return rows


def _notes(report: Report) -> dict[str, str]:
    """What the student has over its teacher, by row."""
    if report.teacher is None or report.speed_up is None:
        return {}
    return {
        "parameters": times(report.teacher.parameters / report.student.parameters, "smaller", "larger"),
        "one batch, on the CPU": times(report.speed_up, "faster", "slower"),
    }


def _changes(report: Report, start: str) -> list[tuple[str, str, str, str]]:
    """(name, first value, last value, how they compare) of all that is measured on held-out text."""
    changes = [
        (f"loss: {name}", f"{before:#.4g}", f"{after:#.4g}", f"{_ratio(after, before):.3f} of {start}")
        for name, (before, after) in report.held_out.items()
    ]
    for tag, (before, after) in report.beside.items():
        changes.append((row_of(tag, report.masked_tokens), f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"))
    return changes


def _what_each_gave(report: Report) -> str:
    """What solving gave, and what training made of it."""
    from megatinybert.runtime.stopwatch import duration
    from megatinybert.training.solve.record import what_solving_gave

    (total, after), probe = report.held_out["total"], report.probe
    spent = f" in {duration(report.training_seconds)}" if report.training_seconds else ""
    brought = f"these to {after:#.4g} and {probe[1]:.3f}" if probe else f"it to {after:#.4g}"
    return (
        f"{what_solving_gave(report.solving, total, probe[0] if probe else None)}.\n"
        f"Training, {counted(report.steps, 'step')} on {counted_tokens(report.tokens)}{spent}, brought {brought}."
    )


def what_got_worse(report: Report) -> list[str]:
    """A sentence about what training left worse than it was; [] where there is nothing of that."""
    sentence = on_what_got_worse(report.held_out, report.beside, report.few_steps, report.probe_chance)
    return [sentence] if sentence else []


def _ratio(after: float, before: float) -> float:
    return after / before if before else math.nan
