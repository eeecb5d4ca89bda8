"""results.json: teacher and student compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.models.load import Size
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.text_table import format_table
from megatinybert.tasks.latency import Latency

TEACHER, STUDENT = "teacher", "student"


@dataclass(frozen=True)
class ModelResult:
    """One model on a task. metrics: as `metrics.compute_metrics` gives them, by dev split; the first split selects."""

    metrics: dict[str, dict[str, float]]
    size: Size
    latency: Latency | None = None


def merge_results(path: Path, task: str, models: Mapping[str, ModelResult]) -> dict[str, Any]:
    """Write results into results.json, in place of those of the same models; the other model's stay. -> its content.

    models: by name, "teacher" or "student". "retention" is there with both: the student's score as a part of the
    teacher's, on the first dev split. What is undefined (NaN) is null.
    Raises ValueError where the file is of another task.
    """
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"task": task}
    if old["task"] != task:
        raise ValueError(f"{path} has results of {old['task']}, not of {task}: give this run another run.output_dir")
    parts = {name: old[name] for name in (TEACHER, STUDENT) if name in old}
    parts |= {name: _plain(result) for name, result in models.items()}
    merged: dict[str, Any] = {"task": task} | {name: parts[name] for name in (TEACHER, STUDENT) if name in parts}
    if len(parts) == 2:
        split = _splits(merged[STUDENT])[0]
        scores = [merged[name].get(split, {}).get("score") for name in (STUDENT, TEACHER)]
        merged["retention"] = _ratio(*scores)
    # JSON has no NaN.
    merged = json.loads(json.dumps(merged), parse_constant=lambda _: None)
    write_atomically(path, json.dumps(merged, indent=2, ensure_ascii=False) + "\n")
    return merged


def results_table(results: Mapping[str, Any]) -> str:
    """The content of results.json as text for a terminal: a column for each model that is there."""
    names = [name for name in (TEACHER, STUDENT) if name in results]
    models = [results[name] for name in names]
    rows = [(results["task"], names, "")]
    for split in _splits(models[-1]):
        metrics = models[-1][split]
        for metric in metrics:
            if metric != "score" or len(metrics) > 2:  # of one metric alone it is the score
                values = [model.get(split, {}).get(metric) for model in models]
                rows.append((f"{split}: {metric}", _texts(values, "{:.4f}"), _kept(values)))
    parameters = [model["parameters"] for model in models]
    rows.append(("parameters", _texts(parameters, "{:,}"), _times(parameters, "smaller")))
    rows.append(("weights in float32", _texts([model["bytes"] / 1e6 for model in models], "{:,.1f} MB"), ""))
    if all("latency_ms" in model for model in models):
        medians = [model["latency_ms"] for model in models]
        rows.append(("latency, median", _texts(medians, "{:.1f} ms"), _times(medians, "faster")))
        rows.append(
            ("latency, 90th percentile", _texts([model["latency_p90_ms"] for model in models], "{:.1f} ms"), "")
        )
        speeds = [model["sequences_per_second"] for model in models]
        rows.append(("sequences a second", _texts(speeds, "{:,.1f}"), ""))
    cells = [(name, *texts, note) for name, texts, note in rows]
    lines = [format_table(cells, right_aligned=range(1, 1 + len(models)))]
    if "retention" in results:
        kept = results["retention"]
        lines += [
            "",
            f"The student keeps {'an undefined part' if kept is None else f'{kept:.1%}'} of the teacher's score.",
        ]
    return "\n".join(lines)


def _plain(result: ModelResult) -> dict[str, Any]:
    plain: dict[str, Any] = {
        **result.metrics,
        "parameters": result.size.parameters,
        "bytes": result.size.bytes,
    }
    if result.latency is not None:
        plain["latency_ms"] = result.latency.median_ms
        plain["latency_p90_ms"] = result.latency.p90_ms
        plain["sequences_per_second"] = result.latency.sequences_per_second
    return plain


def _splits(model: Mapping[str, Any]) -> list[str]:
    return [name for name, value in model.items() if isinstance(value, dict)]


def _ratio(value: float | None, of: float | None) -> float:
    """value / of; NaN where that says nothing: one of them is undefined, or `of` is not positive."""
    return value / of if value is not None and of is not None and of > 0 else math.nan


def _texts(values: list[float | None], form: str) -> list[str]:
    return ["undefined" if value is None else form.format(value) for value in values]


def _kept(values: list[float | None]) -> str:
    """values: of the teacher and the student; there is nothing to say of one of them alone."""
    ratio = _ratio(values[1], values[0]) if len(values) == 2 else math.nan
    return "" if math.isnan(ratio) else f"{ratio:.1%} kept"


def _times(values: list[float | None], word: str) -> str:
    ratio = _ratio(*values) if len(values) == 2 else math.nan
    return "" if math.isnan(ratio) else f"{ratio:.1f} x {word}"
