"""What a step costs as windows grow: time for each token, and memory, against length, table and figure.

    python benchmarks/growth.py STEP.json ... [--figure FILE.png]

Each is a result of `benchmarks/step.py --json`, of one machine and one pair of models. Times are of results that have
them, memory of those of micro batch 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from matplotlib.figure import Figure

from megatinybert.tracking.figures import save_picture

Curves = dict[str, dict[int, float]]  # by name, a value for each length
_SAME = ("student", "deepspeed", "compile", "quantize")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a step against the length of its windows.")
    parser.add_argument("results", nargs="+", type=Path, metavar="STEP.json", help="of benchmarks/step.py --json")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in options.results]
    try:
        check_alike(results)
    except ValueError as error:
        parser.error(str(error))
    seconds, memory = times(results), memories(results)
    print(table(seconds, memory))
    if options.figure:
        save_picture(draw(seconds, memory), options.figure)


def check_alike(results: list[dict[str, Any]]) -> None:
    """Raise ValueError where results of different jobs, or times of different machines, would share a curve."""
    found = {name: {each["job"][name] for each in results} for name in _SAME}
    found["hardware"] = {each["environment"]["hardware"] for each in results if "seconds" in each}
    for name, values in found.items():
        if len(values) > 1:
            raise ValueError(f"the results differ in {name}: {' and '.join(sorted(values))}")


def times(results: list[dict[str, Any]]) -> Curves:
    """Microseconds of each kind of step for a token."""
    timed = [each for each in _by_length(results) if "seconds" in each]
    return {
        name: {each["job"]["length"]: 1e6 / each["tokens_per_second"][name] for each in timed}
        for name in ("literal", "step", "floor")
    }


def memories(results: list[dict[str, Any]]) -> Curves:
    """MiB of a step of one window."""
    single = [each for each in _by_length(results) if each["job"]["micro_batch"] == 1]
    return {
        name: {each["job"]["length"]: each["memory_bytes"][name] / 2**20 for each in single}
        for name in ("literal", "step")
    }


def _by_length(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(results, key=lambda each: each["job"]["length"])


def table(seconds: Curves, memory: Curves) -> str:
    """Both in Markdown, a row for each length."""
    columns = {f"{name}, µs a token": curve for name, curve in seconds.items()}
    columns |= {f"{name}, MiB at batch 1": curve for name, curve in memory.items()}
    lines = [f"| length | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for length in sorted({length for curve in columns.values() for length in curve}):
        cells = [f"{curve[length]:,.0f}" if length in curve else "" for curve in columns.values()]
        lines.append(f"| {length:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(seconds: Curves, memory: Curves) -> Figure:
    figure = Figure(figsize=(9.0, 4.5), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    titled = {"time": ("µs a token", seconds), "memory of one window": ("MiB", memory)}
    for axis, (title, (unit, curves)) in zip(panels, titled.items(), strict=True):
        for name, curve in curves.items():
            axis.plot(list(curve), list(curve.values()), "o-", label=name)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.set(title=title, xlabel="tokens of a window", ylabel=unit)
        axis.set_xticks(sorted({length for curve in curves.values() for length in curve}))
        axis.tick_params(axis="x", rotation=60)
        axis.grid(True, alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
