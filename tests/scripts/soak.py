"""A soak: a tiny model in training, faults inflicted on it for half an hour, and what is left of it at the end.

    .venv/bin/python -m tests.scripts.soak [--minutes 30] [--seed 0] [--report FILE]

Most of the time two ranks train with --run.restarts; where the front end is the victim, or is asked to stop, the same
command is started again, as a scheduler would. In another part the ranks are on two nodes, with a cable to cut; that
needs what `tests/cluster/cluster.sh missing` says. The last part changes the number of ranks at each start. Then the
same runs are made undisturbed, and compared: samples, weights, optimizer. Each step waits, in place of a larger model's
arithmetic, so that the runs to compare with take less time than the soak. The exit code is 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.helpers.cluster import Cluster, missing, own_cluster
from tests.helpers.toys import recipe, write_dataset
from tests.scripts import soak_faults, soak_nodes
from tests.scripts.soak_faults import FULL_DISK, OTHER_RANKS, OneMachine
from tests.scripts.soak_nodes import TwoNodes
from tests.scripts.soak_report import compared, report
from tests.scripts.soak_run import Outcome, Soaked, drawn, inflict_all

PAUSE = 0.2  # seconds of each step
SAVED_EVERY = 10  # steps
SHARE_OF_NODES, SHARE_OF_RANKS = 0.3, 0.15  # of the time, for the last two parts


class Part(NamedTuple):
    """share: of the time. fitted: share of that which the steps take undisturbed. exact: whether the state at the end
    is to be the same bit for bit. made: from options, folder for samples, and seconds that each step waits.
    """

    share: float
    fitted: float
    kinds: Mapping[str, int]
    exact: bool
    made: Callable[[list[str], Path, float], Soaked]
    options: Mapping[str, object]


SAME_RANKS = {"run.global_batch": 8, "run.micro_batch": 4, "student.hidden_dropout": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="a file for the report, which is printed, too")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt_once)
    folder, keep = Path(tempfile.mkdtemp(prefix="soak-")), True
    try:
        with small_disk(folder / "disk") as disk, two_nodes(folder / "cluster") as cluster:
            text, failed = soak(folder, given.minutes, random.Random(given.seed), parts(disk, cluster))
        keep = failed
    except KeyboardInterrupt:
        keep = False
        sys.exit("interrupted")
    finally:
        if not keep:
            shutil.rmtree(folder)
    text = f"Seed {given.seed}, {given.minutes:g} minutes.\n\n{text}"
    print(text)
    if given.report:
        given.report.write_text(text)
    sys.exit(1 if failed else 0)


def interrupt_once(*_: object) -> None:
    """As a signal handler: nothing interrupts what cleans up then, nor the commands by which it does so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Whether a tmpfs could be mounted there, which takes root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        if not mounted:
            print("no tmpfs can be mounted here: the disk is never full", file=sys.stderr)
        yield mounted
    finally:
        if folder.is_mount():
            subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[Cluster | None]:
    lacking = missing()
    if lacking:
        print(f"no nodes can be made here, so no cable is cut; missing: {lacking}", file=sys.stderr)
        yield None
        return
    with own_cluster(folder, size=len(soak_nodes.NODES)) as cluster:
        yield cluster


def parts(disk: bool, cluster: Cluster | None) -> dict[str, Part]:
    """By name. disk: whether it may be filled. cluster: whose cables may be cut."""
    kinds = {kind: count for kind, count in soak_faults.FAULTS.items() if disk or kind != FULL_DISK}
    share = 1 - SHARE_OF_RANKS - (SHARE_OF_NODES if cluster else 0)
    found = {"same ranks": Part(share, 0.75, kinds, True, OneMachine, {**SAME_RANKS, "run.restarts": 1000})}
    if cluster:

        def made(options: list[str], folder: Path, pause: float) -> Soaked:
            return TwoNodes(options, folder, pause, cluster)

        found["two nodes"] = Part(SHARE_OF_NODES, 0.4, soak_nodes.FAULTS, True, made, SAME_RANKS)

    def with_other_ranks(options: list[str], folder: Path, pause: float) -> Soaked:
        return OneMachine(options, folder, pause, other_ranks=True)

    # Dropout depends on the micro batch, and that on the number of ranks.
    free = {"run.global_batch": 12, "run.micro_batch": "null", "student.hidden_dropout": 0.0, "run.restarts": 1000}
    found["other ranks"] = Part(SHARE_OF_RANKS, 0.75, OTHER_RANKS, False, with_other_ranks, free)
    return found


def soak(folder: Path, minutes: float, choose: random.Random, all_parts: Mapping[str, Part]) -> tuple[str, bool]:
    """(the report, whether anything was not as it should be)."""
    rate = undisturbed_rate(folder, 20.0 if minutes < 10 else 60.0, all_parts["same ranks"])
    print(f"undisturbed: {rate:.2f} steps/s", file=sys.stderr)
    lines, failed = [], False
    for name, part in all_parts.items():
        seconds = 60 * minutes * part.share
        steps = int(part.fitted * rate * seconds)
        kinds = drawn(part.kinds, seconds / 60, choose)
        with part.made(options(folder, folder / "disk" / name, steps, part), folder / f"drawn {name}", PAUSE) as run:
            outcome = inflict_all(run, kinds, seconds, choose)
        with part.made(options(folder, folder / name, steps, part), folder / f"undrawn {name}", 0.0) as again:
            again.run_to_end()
        differences, said = compared(run, again, part.exact)
        outcome = Outcome(outcome.wall, outcome.events, outcome.problems + differences)
        failed |= bool(outcome.problems)
        lines.append(report(name, steps, rate, outcome, said))
        print(lines[-1], file=sys.stderr, flush=True)  # the next part takes some time
    return "\n\n".join(lines), failed


def undisturbed_rate(folder: Path, seconds: float, part: Part) -> float:
    """Steps a second of a run without faults, between its first step and its last, its saves included."""
    steps = int(seconds / PAUSE)
    with part.made(options(folder, folder / "disk" / "rate", steps, part), folder / "drawn rate", PAUSE) as run:
        run.run_to_end()
    shutil.rmtree(run.output)
    return (steps - 1) / float(np.ptp(run.times()))


def options(folder: Path, output: Path, steps: int, part: Part) -> list[str]:
    corpus = folder / "long corpus"
    if not corpus.with_suffix(".idx").exists():
        write_dataset(corpus, tokens=2_000_000)
    given: dict[str, object] = {
        "data.shards": corpus,
        "run.output_dir": output,
        "run.max_steps": steps,
        "run.save_interval": SAVED_EVERY,
        "run.log_interval": SAVED_EVERY,
        "run.held_out_interval": 1_000_000,
        "run.compile": "never",
        "run.lost_after": "10s",
        **part.options,
    }
    return recipe(folder, **given)


if __name__ == "__main__":
    main()
