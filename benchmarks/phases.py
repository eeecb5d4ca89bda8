"""What happens where one phase of a run hands over to the next: held-out losses over the tokens seen, table and figure.

    python benchmarks/phases.py RUN_OF_PHASE_1 RUN_OF_PHASE_2 [--figure FILE.png]

Each is the output folder of a finished run of launch/general.sh. See docs/results.md, "Two phases".
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import yaml
from matplotlib.figure import Figure

from megatinybert.tracking.curves import Row, loss_names, read_metrics
from megatinybert.tracking.figures import save_picture


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Held-out losses of two phases over the tokens seen.")
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="output folders, of phase 1 and of phase 2")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    options = parser.parse_args(arguments)
    phases = [measurements(run) for run in options.runs]
    names = loss_names(phases[0])
    print("| tokens |", " | ".join(names), "|")
    print("| ---: " * (1 + len(names)) + "|")
    before = 0.0
    for number, rows in enumerate(phases, start=1):
        for row in rows if number > 1 else rows[-1:]:
            cells = [f"{row[f'held_out/{name}']:.4g}" for name in names]
            print(f"| phase {number}, {(before + row['tokens']) / 1e6:.2f} M |", " | ".join(cells), "|")
        before += rows[-1]["tokens"]
    if options.figure:
        save_picture(draw(phases, names), options.figure)


def measurements(run: Path) -> list[Row]:
    """The rows of a run that have held-out losses, each with the tokens seen until then as "tokens"."""
    recipe = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    tokens_per_step = recipe["run"]["global_batch"] * recipe["data"]["sequence_length"]
    rows = read_metrics(run / "metrics.jsonl")
    return [row | {"tokens": row["step"] * tokens_per_step} for row in rows if "held_out/total" in row]


def draw(phases: list[list[Row]], names: list[str]) -> Figure:
    """A panel for each loss, a colour for each phase."""
    figure = Figure(figsize=(3.4 * len(names), 3.4), dpi=120, layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names)), names, strict=True):
        before = 0.0
        for number, rows in enumerate(phases, start=1):
            seen = [(before + row["tokens"]) / 1e6 for row in rows]
            axis.plot(seen, [row[f"held_out/{name}"] for row in rows], "o-", markersize=3, label=f"phase {number}")
            before += rows[-1]["tokens"]
        axis.set(title=name, xlabel="million tokens seen", yscale="log")
        axis.grid(True, which="both", alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
        axis.tick_params(axis="y", which="minor", labelsize=6)
        axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
