"""What docs/task.md says of the output folder and the metrics is so; test_option_tables.py has its options."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.pages import DOCS, first_names, section
from tests.helpers.toys import metrics

PAGE = DOCS / "task.md"


def test_what_is_left_is_described(done_task: Path) -> None:
    described = {name.rstrip("/") for name in first_names(section(PAGE, "Output"))}
    assert {path.name for path in done_task.iterdir()} <= described
    assert described - {path.name for path in done_task.iterdir()} == {"run.output_dir", "predictions"}


def test_metrics_are_described(done_task: Path) -> None:
    described = {*first_names(section(PAGE, "Watch it")), *first_names(section(DOCS / "general.md", "Metrics"))}
    described = {tag.format(i=layer) for tag in described for layer in range(2)}
    stages = ("teacher", "mlm", "one", "two")
    tags = {stage: {tag for row in metrics(done_task / "stages" / stage) for tag in row} for stage in stages}
    assert set().union(*tags.values()) - {"step"} <= described
    for stage in stages:  # what the page has for one of them alone
        assert (f"loss/{'label' if stage == 'teacher' else 'prediction'}" in tags[stage]) == (
            stage in ("teacher", "two")
        )
    assert "held_out/accuracy" in tags["mlm"] and "held_out/probe" in tags["one"]
    assert all({"dev/accuracy", "dev/score"} <= tags[stage] for stage in ("teacher", "two"))
