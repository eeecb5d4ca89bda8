"""The table of tasks: found by name, and consistent in itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from megatinybert.tasks.metrics import METRICS
from megatinybert.tasks.table import TASKS, Task, find_task
from tests.helpers.pages import DOCS, section, table_rows
from tests.helpers.toys import REPOSITORY

GLUE = ["cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SST2", "sst-2"),
        ("sst_2", "sst-2"),
        ("STS-B", "sts-b"),
        ("CoLA", "cola"),
        (" MNLI ", "mnli"),
        ("custom", "custom"),
    ],
)
def test_case_and_separators_do_not_matter(name: str, expected: str) -> None:
    assert find_task(name) is TASKS[expected]


def test_an_unknown_task_is_refused_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"--task.name sst: no such task. Did you mean sst-2\? There are cola, sst-2"):
        find_task("sst")
    with pytest.raises(ValueError, match="--task.name zzzz: no such task. There are"):
        find_task("zzzz")


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_entries_are_consistent(task: Task) -> None:
    assert set(task.metrics) <= set(METRICS)
    assert set(task.submission) <= set(task.test)
    assert len(task.values) in (0, task.classes)
    assert bool(task.columns.text_b) == task.pair or task.name == "custom"
    assert set(task.other_names) <= {task.train, *task.dev.values()}
    if task.header:
        assert {*task.columns.text_a, *task.columns.label} <= set(task.header)


def test_glue_is_whole() -> None:
    assert list(TASKS) == [*GLUE, "custom"]
    assert {name: TASKS[name].classes for name in GLUE} == dict(zip(GLUE, [2, 2, 2, 1, 2, 3, 2, 2, 2], strict=True))
    assert [name for name in GLUE if not TASKS[name].pair] == ["cola", "sst-2"]
    assert list(TASKS["mnli"].dev) == ["dev_matched", "dev_mismatched"], "the matched part selects"
    assert TASKS["mnli"].labels == ("contradiction", "entailment", "neutral")


def test_the_page_about_data_has_the_table() -> None:
    rows = {cells[0].strip("`"): cells for cells in table_rows(section(DOCS / "task-data.md", "GLUE"))[1:]}
    assert list(rows) == GLUE
    for name, (_, classes, metrics, submission) in rows.items():
        task = TASKS[name]
        assert classes == (", ".join(task.labels) if task.labels else "a score of 0 to 5")
        assert [metric.split()[0].lower() for metric in metrics.split(", ")] == list(task.metrics)
        assert submission.replace("`", "").split(", ") == list(task.submission.values())


def test_the_command_line_can_know_tasks_without_torch() -> None:
    modules = [f"megatinybert.tasks.{name}" for name in ("labels", "metrics", "submission", "table", "reading.read")]
    program = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0
