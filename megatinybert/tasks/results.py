"""results.json: teacher and student compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatinybert.models.load import Size
from megatinybert.runtime.counts import times
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.text_table import format_table
from megatinybert.runtime.waiting import much, on_times
from megatinybert.tasks.baseline import SCORE, Baseline, remarks, retentions
from megatinybert.tasks.latency import Latency

TEACHER, STUDENT = "teacher", "student"
CONSTANT = "constant"
ROWS = "rows"


@dataclass(frozen=True)
class ModelResult:
    """One model on a task. metrics: as `metrics.compute_metrics` gives them, by dev split; the first split selects.

    only_answer: what it answers to every row of that split; None where its answers differ.
    """

    metrics: dict[str, dict[str, float]]
    size: Size
    latency: Latency | None = None
    only_answer: str | None = None


def merge_results(
    path: Path,
    task: str,
    models: Mapping[str, ModelResult],
    constant: Mapping[str, Mapping[str, float]] | None = None,
    rows: Mapping[str, int] | None = None,
    about: Sequence[str] = (),
    advice: str = "",
    measured: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write results into results.json, in place of those of the same models; the other model's stay. -> its content.

    models: by name, "teacher" or "student". constant: what the best constant answer reaches (`constant_scores`), by dev
    split; with it rows: how many each has. about: what has to be said of rows and stages. advice: as of `remarks`.
    measured: all that decides these results, for `known_results`.

    With both models there is "retention", the student's score as a part of the teacher's on the first dev split, and
    with `constant` "retention_over_constant", the same of what they gain over it. "remarks", where there are any, are
    sentences that a reader of the numbers has to know. What is undefined (NaN) is null, as both retentions are of a
    teacher that is no better than chance.
    Raises ValueError where the file is of another task.
    """
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"task": task}
    if old["task"] != task:
        raise ValueError(f"{path} has results of {old['task']}, not of {task}: give this run another --run.output_dir")
    parts: dict[str, Any] = {name: old[name] for name in (TEACHER, STUDENT) if name in old}
    parts |= {name: _plain(result) for name, result in models.items()}
    merged: dict[str, Any] = {"task": task} | {name: parts[name] for name in (TEACHER, STUDENT) if name in parts}
    split: str = _splits(next(reversed(merged.values())))[0]
    scores = {name: part.get(split, {}).get(SCORE) for name, part in merged.items() if name != "task"}
    if constant and rows:
        merged[CONSTANT], merged[ROWS] = dict(constant), dict(rows)
    baseline = _baseline(merged, split, SCORE)
    if len(parts) == 2:
        merged["retention"], over = retentions(scores[TEACHER], scores[STUDENT], baseline)
        if baseline is not None:
            merged["retention_over_constant"] = over
    answers = {name: parts[name]["only_answer"] for name in scores if "only_answer" in parts[name]}
    said = [*about, *(remarks(split, scores, baseline, answers, advice) if baseline is not None else [])]
    if said:
        merged["remarks"] = said
    if measured:
        merged["measured"] = measured
    # JSON has no NaN.
    merged = json.loads(json.dumps(merged), parse_constant=lambda _: None)
    write_atomically(path, json.dumps(merged, indent=2, ensure_ascii=False) + "\n")
    return merged


def known_results(path: Path, measured: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of results.json where it was made of `measured` and nothing else, as of `merge_results`."""
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return known if known.get("measured") == measured else None


def results_table(results: Mapping[str, Any]) -> str:
    """The content of results.json as text for a terminal: a column for each model that is there, and one for the best
    constant answer.
    """
    names = [name for name in (TEACHER, STUDENT) if name in results]
    models = [results[name] for name in names]
    constant = results.get(CONSTANT)
    none = [] if constant is None else [""]
    header = [*names, *([] if constant is None else [CONSTANT])]
    rows = [(results["task"], header, ""), *score_rows(results)]
    parameters = [model["parameters"] for model in models]
    rows.append(("parameters", _texts(parameters, "{:,}") + none, _times(parameters, "smaller", "larger")))
    rows.append(("weights in float32", _texts([model["bytes"] / 1e6 for model in models], "{:,.1f} MB") + none, ""))
    if all("latency_ms" in model for model in models):
        rows += [(name, texts + none, note) for name, texts, note in _speeds(models)]
    cells = [(name, *texts, note) for name, texts, note in rows]
    return "\n".join([format_table(cells, right_aligned=range(1, len(rows[0][1]) + 1)), *_sentences(results)])


def score_rows(results: Mapping[str, Any]) -> list[tuple[str, list[str], str]]:
    """(split and metric; the values of the models that are there and of the best constant answer; what is kept)."""
    models = [results[name] for name in (TEACHER, STUDENT) if name in results]
    rows = []
    for split in _splits(models[-1]):
        metrics = models[-1][split]
        for metric in metrics:
            if metric != SCORE or len(metrics) > 2:  # of one metric alone it is the score
                values = [model.get(split, {}).get(metric) for model in models]
                baseline = _baseline(results, split, metric)
                shown = _texts(values if baseline is None else [*values, baseline.constant], "{:.4f}")
                rows.append((f"{split}: {metric}", shown, _kept(values, baseline)))
    return rows


def _speeds(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str], str]]:
    medians = [model["latency_ms"] for model in models]
    return [
        ("latency, median", _texts(medians, "{:.1f} ms"), _times(medians, "faster", "slower")),
        ("latency, 90th percentile", _texts([model["latency_p90_ms"] for model in models], "{:.1f} ms"), ""),
        ("sequences a second", _texts([model["sequences_per_second"] for model in models], "{:,.1f}"), ""),
    ]


def kept_sentences(results: Mapping[str, Any]) -> list[str]:
    """What the student keeps; nothing where the teacher is no better than chance, or the student than a constant."""
    kept, over = results.get("retention"), results.get("retention_over_constant")
    if "retention" not in results or (CONSTANT in results and (over is None or over <= 0)):
        return []
    part = "an undefined part" if kept is None else f"{kept:.1%}"
    lines = [f"The student keeps {part} of the teacher's score."]
    if over is not None:
        lines.append(f"It keeps {over:.1%} of what the teacher gains over the best constant answer.")
    return lines


def _sentences(results: Mapping[str, Any]) -> list[str]:
    """What stands below the table."""
    waited = max(results.get(name, {}).get("latency_waited", 0.0) for name in (TEACHER, STUDENT))
    lines = [*results.get("remarks", []), *kept_sentences(results), *on_times(waited)]
    if CONSTANT in results:
        lines.append("constant: the best that one answer to all rows reaches, in each metric by itself.")
        lines.append(
            "Scores: in float32, on the development rows, which also chose the weights of models trained here."
        )
    return ["", *lines] if lines else []


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
        if much(result.latency.waited):
            plain["latency_waited"] = result.latency.waited
    if result.only_answer is not None:
        plain["only_answer"] = result.only_answer
    return plain


def _splits(model: Mapping[str, Any]) -> list[str]:
    return [name for name, value in model.items() if isinstance(value, dict)]


def _ratio(value: float | None, of: float | None) -> float:
    """value / of; NaN where that says nothing: one of them is undefined, or `of` is not positive."""
    return value / of if value is not None and of is not None and of > 0 else math.nan


def _texts(values: list[float | None], form: str) -> list[str]:
    return ["undefined" if value is None else form.format(value) for value in values]


def _baseline(results: Mapping[str, Any], split: str, metric: str) -> Baseline | None:
    """Of a metric or the score on a dev split; None where the best constant answer is not known."""
    if CONSTANT not in results or ROWS not in results:  # as in files of earlier versions
        return None
    own = results[CONSTANT][split]
    return Baseline.of(own, own[metric], results[ROWS][split])


def _kept(values: list[float | None], baseline: Baseline | None) -> str:
    """values: of the teacher and the student; there is nothing to say of one of them alone."""
    if len(values) < 2:
        return ""
    if baseline is not None and not baseline.is_beaten(values[0]):
        return "teacher no better than chance"
    kept, over = retentions(values[0], values[1], baseline)
    if math.isnan(kept):
        return ""
    if math.isnan(over):
        return f"{kept:.1%} kept"
    return f"{kept:.1%} kept, {over:.1%} over constant" if over > 0 else "not above constant"


def _times(values: list[float | None], more: str, less: str) -> str:
    ratio = _ratio(*values) if len(values) == 2 else math.nan
    return "" if math.isnan(ratio) else times(ratio, more, less)
