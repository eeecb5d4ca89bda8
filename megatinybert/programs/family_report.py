"""The report of a run of several students: what each of them is, and what it has reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from megatinybert.config.run_folder import students_in
from megatinybert.programs.report import (
    FIRST_PAGE,
    learnt_from,
    measure_models,
    read_run,
    report_of,
    report_run,
    save,
    tensorboard_command,
)
from megatinybert.programs.report_table import FACTS, TIMED_RUNS, Report, what_got_worse
from megatinybert.runtime.counts import counted, counted_tokens, times
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.text_table import format_table
from megatinybert.runtime.waiting import on_times
from megatinybert.tracking.figures import save_picture
from megatinybert.tracking.measurements import BESIDE_LOSSES
from megatinybert.tracking.trade_off import Point, draw

PICTURE = "trade-off.png"


def report_folder(folder: Path) -> str:
    """The report of a run of one student or of several, as text for a terminal, with the files that belong to it."""
    return report_family(folder) if students_in(folder) else report_run(folder)


def report_family(folder: Path) -> str:
    """Write report.json and trade-off.png of the run in `folder`, and of each student what `report_run` writes.

    -> the same as text for a terminal. Raises ValueError as `read_run` does, of any student.
    """
    runs = {name: read_run(folder / name) for name in students_in(folder)}
    config, _ = next(iter(runs.values()))
    teacher, students, length = measure_models(learnt_from(config), *(folder / name / "student" for name in runs))
    reports = {
        name: report_of(own, rows, folder / name, teacher, student, length)
        for (name, (own, rows)), student in zip(runs.items(), students, strict=True)
    }
    for name, (own, rows) in runs.items():
        save(reports[name], rows, folder / name, own)
    plain = {name: json.loads(json.dumps(asdict(each)), parse_constant=_no_number) for name, each in reports.items()}
    write_atomically(folder / "report.json", json.dumps({"students": plain}, indent=2) + "\n")
    save_picture(draw(points_of(reports)), folder / PICTURE)
    one = folder / next(iter(runs))
    return (
        f"{table(reports)}\n\nTrade-off: {folder / PICTURE}\nTensorBoard: {tensorboard_command(folder)}\n"
        f"             then open {FIRST_PAGE}\nA student alone: python -m megatinybert.report {one}"
    )


def _no_number(name: str) -> None:
    """JSON has no NaN, which the probe of a student that gives every text one vector is."""


def points_of(reports: Mapping[str, Report]) -> list[Point]:
    """Students, then their teacher, which agrees with itself wholly."""
    points = []
    for name, report in reports.items():
        student = report.student
        probes = {tag: after for tag, (_, after) in report.beside.items()}
        points.append(Point(name, student.parameters, student.milliseconds, probes))
    teacher = next(iter(reports.values())).teacher
    if teacher:
        points.append(Point("teacher", teacher.parameters, teacher.milliseconds, dict.fromkeys(points[0].probes, 1.0)))
    return points


def table(reports: Mapping[str, Report]) -> str:
    """A column for each student, and one for the teacher. What is held out is at the end of training."""
    first = next(iter(reports.values()))
    models = [*(report.student for report in reports.values()), *([first.teacher] if first.teacher else [])]
    rows = [["", *reports, *(["teacher"] if first.teacher else [])]]
    rows += [[name, *(show(model) for model in models)] for name, show in FACTS.items()]
    if first.teacher:
        teacher, students = first.teacher, [report.student for report in reports.values()]
        sizes = (times(teacher.parameters / each.parameters, "smaller", "larger") for each in students)
        speeds = (times(report.speed_up, "faster", "slower") for report in reports.values() if report.speed_up)
        rows += [["beside the teacher", *sizes, ""], ["", *speeds, ""]]
    rows += [[""] * len(rows[0]), ["on held-out text", *[""] * (len(rows[0]) - 1)]]
    for name in dict.fromkeys(name for report in reports.values() for name in report.held_out):
        pairs = [report.held_out.get(name) for report in reports.values()]
        losses = [f"{pair[1]:#.4g}" if pair else "-" for pair in pairs]
        rows.append([f"loss: {name}", *losses, *_of_teacher(first, "-")])
    for tag in dict.fromkeys(tag for report in reports.values() for tag in report.beside):
        pairs = [report.beside.get(tag) for report in reports.values()]
        shown, row = _of_teacher(first, "1.000"), BESIDE_LOSSES[tag].row
        rows.append([f"{row}, before training", *(f"{pair[0]:.3f}" if pair else "-" for pair in pairs), *shown])
        rows.append([row, *(f"{pair[1]:.3f}" if pair else "-" for pair in pairs), *shown])
    tags = dict.fromkeys(tag for report in reports.values() for tag in report.beside)
    trained = f"Trained together for {counted(first.steps, 'step')} on {counted_tokens(first.tokens)}."
    lines = [
        format_table(rows, right_aligned=range(1, len(rows[0]))),
        "",
        trained,
        *(f"{name}: {sentence}" for name, report in reports.items() for sentence in what_got_worse(report)),
        "Losses compare between students of one layer map and one set of weights; probes, where the last layers of the "
        "students learn from the same one of the teacher.",
        f"One batch: median of {TIMED_RUNS} float32 runs of {first.speed_batch} sentences of "
        f"{first.speed_length} tokens on {counted(first.speed_threads, 'thread')}, the models in turn.",
        *on_times(first.student.waited),
        *(f"{BESIDE_LOSSES[tag].row.capitalize()}: {BESIDE_LOSSES[tag].meaning}." for tag in tags),
        *([first.on_no_probe] if first.on_no_probe else []),
    ]
    return "\n".join(lines)


def _of_teacher(report: Report, value: str) -> list[str]:
    return [value] if report.teacher else []
