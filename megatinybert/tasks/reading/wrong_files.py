"""What is wrong with a task's files, as far as that is told before anything heavy is loaded."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path

from megatinybert.config.task import TaskDataConfig
from megatinybert.runtime.findings import Findings, once_of_files
from megatinybert.tasks.reading.files import find_files
from megatinybert.tasks.reading.formats import columns_of, read_records
from megatinybert.tasks.reading.headers import check_header
from megatinybert.tasks.reading.layout import layout_of
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped, no_rows, reporter
from megatinybert.tasks.table import Task

READ_WHOLE = 8 * 2**20  # bytes of a task's files: two seconds. Those of more are read whole once the run has begun


def wrong_files(given: TaskDataConfig, answers: bool, answered: Path | None = None) -> list[str]:
    """What a run refuses in the task's files. No torch is imported for it.

    Files of 8 MiB together are read whole. Of larger ones it is told what is wrong as far as the first row that can be
    used: encoding, columns, or that there is no such row.

    answers: whether files without labels are read, too: the task's test files, or `answered` in their place.
    """
    findings = Findings()
    files = findings.attempt("task", find_files, given.name, given.data_dir, layout_of(given))
    if files is None:
        if answered:
            findings.attempt("task", columns_of, answered, layout_of(given))
        return findings.texts("fail")
    if answers and not answered and not files.test:
        return [nothing_to_answer(given)]
    labelled = [files.train, *files.dev.values()]
    unlabelled = ([answered] if answered else list(files.test.values())) if answers else []
    for path in (*labelled, *unlabelled):
        findings.attempt("task", _begin, files.task, path, path in labelled)
    if not findings.failed and size_of([*labelled, *unlabelled]) <= READ_WHOLE:
        _read_whole(given, unlabelled if answers else None, findings)
    return once_of_files(findings.texts("fail"), [*labelled, *unlabelled])


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of files together."""
    return sum(path.stat().st_size for path in paths)


def nothing_to_answer(given: TaskDataConfig) -> str:
    """The refusal where neither the task nor --predict.input has a file without labels."""
    return f"--task.data_dir {given.data_dir} holds no test file of {given.name}: name a file with --predict.input"


def _begin(task: Task, path: Path, with_labels: bool) -> None:
    skipped = Skipped()
    if next(read_records(task, path, with_labels, reporter(path, skipped)), None) is None:
        raise no_rows(path, skipped)
    check_header(task, path, with_labels)


def _read_whole(given: TaskDataConfig, answered: Sequence[Path] | None, findings: Findings) -> None:
    """answered: the files of rows to be answered, which are read in place of those that train and measure."""
    files = findings.attempt("task", open_task, given.name, given.data_dir, given.labels, given.kind, layout_of(given))
    if files is None:
        return
    for path in [files.train, *files.dev.values()] if answered is None else answered:
        rows = read_rows(files.task, path, Skipped() if given.skip_bad_rows else None, answered is None)
        findings.attempt("task", deque, rows, maxlen=0)
