"""A soak: a tiny model in training, faults inflicted on it for half an hour, and what is left of it at the end.

    .venv/bin/python -m tests.scripts.soak [--minutes 30] [--seed 0] [--report FILE]

Most of the time two ranks train with --run.restarts; where the front end is the victim, or is asked to stop, the same
command is started again, as a scheduler would. The last part changes the number of ranks at each start. Then the same
runs are made undisturbed, and compared: samples, weights, optimizer. Each step waits, in place of a larger model's
arithmetic, so that the runs to compare with take less time than the soak. The exit code is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.helpers.toys import recipe, write_dataset
from tests.scripts.drawing import DRAW
from tests.scripts.soak_faults import FAULTS, OTHER_RANKS, Soaked, drawn, inflict
from tests.scripts.soak_report import compared, report

PAUSE = 0.2  # seconds of each step
SAVED_EVERY = 10  # steps
FITTED = 0.75  # share of its time that the steps of a run take undisturbed
SHARE_OF_RANKS = 0.15  # of the time, for the part in which the number of ranks changes
BATCH = {"same ranks": 8, "other ranks": 12}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="a file for the report, which is printed, too")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    disk = small_disk(folder / "disk")
    try:
        text, failed = soak(folder, given.minutes, random.Random(given.seed), disk)
    finally:
        if disk:
            subprocess.run(["umount", folder / "disk"], check=True)
    text = f"Seed {given.seed}, {given.minutes:g} minutes.\n\n{text}"
    print(text)
    if given.report:
        given.report.write_text(text)
    if not failed:
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)


def small_disk(folder: Path) -> bool:
    """Whether a tmpfs could be mounted there, which takes root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        print("no tmpfs can be mounted here: the disk is never full", file=sys.stderr)
    return mounted


def soak(folder: Path, minutes: float, choose: random.Random, disk: bool) -> tuple[str, bool]:
    """(the report, whether anything was not as it should be)."""
    parts = {"same ranks": minutes * (1 - SHARE_OF_RANKS), "other ranks": minutes * SHARE_OF_RANKS}
    rate = undisturbed_rate(folder, 20.0 if minutes < 10 else 60.0)
    print(f"undisturbed: {rate:.2f} steps/s", file=sys.stderr)
    lines, failed = [], False
    for name, long in parts.items():
        steps = int(FITTED * rate * 60 * long)
        kinds = drawn(FAULTS if name == "same ranks" else OTHER_RANKS, long, choose, disk)
        run = Soaked(name, options(folder, name, folder / "disk" / name, steps), folder / f"drawn {name}", PAUSE)
        wall, events, problems = inflict(run, kinds, 60 * long, choose)
        again = Soaked(
            name, options(folder, name, folder / f"undisturbed {name}", steps), folder / f"undrawn {name}", 0.0
        )
        again.run_to_end()
        differences, said = compared(run, again, exact=name == "same ranks")
        problems += differences
        failed |= bool(problems)
        lines.append(report(run, steps, rate, wall, events, problems, said))
        print(lines[-1], file=sys.stderr, flush=True)  # the next part takes some time
    return "\n\n".join(lines), failed


def undisturbed_rate(folder: Path, seconds: float) -> float:
    """Steps a second of a run without faults, between its first step and its last, its saves included."""
    steps = int(seconds / PAUSE)
    run = Soaked("rate", options(folder, "same ranks", folder / "disk" / "rate", steps), folder / "drawn rate", PAUSE)
    run.run_to_end()
    times = np.concatenate([np.fromfile(file, DRAW)["time"] for file in run.drawn.glob("0-*.bin")])
    shutil.rmtree(folder / "disk" / "rate")
    return (steps - 1) / float(np.ptp(times))


def options(folder: Path, name: str, output: Path, steps: int) -> list[str]:
    corpus = folder / "long corpus"
    if not corpus.with_suffix(".idx").exists():
        write_dataset(corpus, tokens=2_000_000)
    same = name == "same ranks"
    given: dict[str, object] = {
        "data.shards": corpus,
        "run.output_dir": output,
        "run.max_steps": steps,
        "run.save_interval": SAVED_EVERY,
        "run.log_interval": SAVED_EVERY,
        "run.held_out_interval": 1_000_000,
        "run.global_batch": BATCH[name],
        "run.micro_batch": 4 if same else "null",
        "run.compile": "never",
        "run.restarts": 1000,
        "run.lost_after": "10s",
        # Dropout depends on the micro batch, and that on the number of ranks.
        "student.hidden_dropout": 0.1 if same else 0.0,
    }
    return recipe(folder, **given)


if __name__ == "__main__":
    main()
