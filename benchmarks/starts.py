"""How many tokens a solved start saves: held-out total and probe over the tokens seen, table and figure.

    python benchmarks/starts.py RUN ... [--reach 1.70] [--figure FILE.png]

Each is the output folder of a run of launch/general.sh. The total is that of the terms with weights of 1, whatever a
run was trained with, and tokens count those that a student was solved on. See docs/results.md, "Real text on two CPU
cores".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import yaml
from matplotlib.figure import Figure

from benchmarks.phases import measurements
from megatinybert.tracking.curves import Row, loss_names
from megatinybert.tracking.figures import save_picture

_PANELS = {"total": "loss: total, all weights 1 (log scale)", "held_out/probe": "probe"}
_COLOURS = {"solved": "tab:orange", "random": "tab:blue"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Held-out total and probe of runs over the tokens seen.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="output folders")
    parser.add_argument("--reach", type=float, metavar="TOTAL", help="tell when each run first had it")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    runs = {run: read(run) for run in options.runs}
    print("| run | start | tokens | total | attention | hidden | embedding | probe | reached at |")
    print("| --- | --- |" + " ---: |" * 7)
    for run, (start, rows) in runs.items():
        last = rows[-1]
        values = [f"{last['total']:.3f}"]
        values += [f"{last[f'held_out/{name}']:.3f}" for name in ("attention", "hidden", "embedding", "probe")]
        reached = next((f"{row['tokens'] / 1e6:.2f} M" for row in rows if row["total"] <= (options.reach or 0)), "-")
        print(f"| {run.name} | {start} | {last['tokens'] / 1e6:.2f} M |", " | ".join([*values, reached]), "|")
    if options.figure:
        save_picture(draw(list(runs.values())), options.figure)


def read(run: Path) -> tuple[str, list[Row]]:
    """(first weights, rows that have held-out values, with "tokens" and "total" of weights of 1)."""
    student = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["student"]
    before = student["solve_tokens"] if student["init"] == "solved" else 0
    rows = []
    for row in measurements(run):
        total = sum(row[f"held_out/{name}"] for name in loss_names([row]) if name != "total")
        rows.append(row | {"tokens": row["tokens"] + before, "total": total})
    return student["init"], rows


def draw(runs: list[tuple[str, list[Row]]]) -> Figure:
    """A line for each run, in the colour of its start."""
    figure = Figure(figsize=(9.0, 3.8), dpi=120, layout="constrained")
    for axis, (tag, title) in zip(figure.subplots(1, 2), _PANELS.items(), strict=True):
        seen: set[str] = set()
        for start, rows in runs:
            label = None if start in seen else f"{start} first weights"
            seen.add(start)
            tokens = [row["tokens"] / 1e6 for row in rows]
            colour = _COLOURS.get(start, "tab:green")
            axis.plot(tokens, [row[tag] for row in rows], "o-", color=colour, markersize=3, label=label)
        axis.set(title=title, xlabel="million tokens seen")
        if tag == "total":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("{x:g}")
            axis.tick_params(axis="y", which="minor", labelsize=6)
        axis.grid(True, which="both", alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
