"""What TensorBoard reads of a run."""

from __future__ import annotations

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar import layout_pb2  # type: ignore[import-untyped]

Curve = tuple[str, str]  # run, tag


def tensorboard(run_dir: Path) -> dict[str, EventAccumulator]:
    """{run: what TensorBoard reads of it}."""
    found = {}
    for folder in sorted((run_dir / "tensorboard").iterdir()):
        found[folder.name] = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
        found[folder.name].Reload()
    return found


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """{tag: [(step, value), ...]} of TensorBoard, by the tags of metrics.jsonl."""
    found = {}
    for run, events in tensorboard(run_dir).items():
        kind, _, which = run.partition("_")
        for tag in events.Tags()["scalars"]:
            of_run = {"training": tag, "held": tag.replace("loss/", "held_out/"), "layer": f"{tag}_{which}"}
            of_run["through"] = f"{tag}_through_projection"
            name = of_run.get(kind, f"time/{which}")
            found[name] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found


def first_page(run_dir: Path) -> tuple[list[Curve], dict[tuple[str, str], list[Curve]]]:
    """All curves, and those that each (category, chart) of the page "Custom Scalars" shows, in the page's order."""
    runs = tensorboard(run_dir)
    event = runs["training"].Tensors("custom_scalars__config__")[-1]
    page = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {(c.title, chart.title): list(chart.multiline.tag) for c in page.category for chart in c.chart}
    curves = [(run, tag) for run, events in runs.items() for tag in events.Tags()["scalars"]]
    return curves, {
        chart: [(run, tag) for run, tag in curves if any(re.match(pattern, tag) for pattern in patterns)]
        for chart, patterns in charts.items()
    }
