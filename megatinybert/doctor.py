"""Checks a run before it starts, and estimates its time."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from megatinybert.runtime.signals import silent_interrupts

with silent_interrupts():
    from megatinybert.config.asked import read_asked
    from megatinybert.config.general import GENERAL
    from megatinybert.config.other_program import OtherProgram
    from megatinybert.programs.doctor import examine, examine_apart, findings_table
    from megatinybert.programs.start import say
    from megatinybert.runtime.findings import Finding, Findings
    from megatinybert.runtime.versions import check_versions

USAGE = """\
usage:
  python -m megatinybert.doctor [--config RECIPE.yaml] [--section.key VALUE ...] [--ranks N] [--no-burst]

Looks at everything that general distillation with the same options would read, prints what is well, what to
look at and what is wrong, and measures a few steps to tell how long the run will take. Nothing is written to
--run.output_dir. What is wrong here, the run refuses at its start.

  --ranks N       processes of the run (default: what the launcher starts on this machine)
  --no-burst      measure nothing, for machines that the run will not be on
  --help          print this text and stop; python -m megatinybert.general --help lists the options of a run

Exit code: 0, also with warnings; 1 where something is wrong; 2 for a mistake in the options, such as a path that is
not there, beside which all that can be is looked at; 130 after Ctrl-C.
"""

_OF_RUNS = replace(GENERAL, words=(*GENERAL.words, "ranks", "no-burst"))
_NO_TASKS = "; launch/task.sh itself looks at all that a task needs, before its first stage, and says how long it takes"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    try:
        return _main(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        say("\nstopped")
        return 130


def _main(options: list[str]) -> int:
    began = time.perf_counter()
    if "--help" in options or "-h" in options:
        print(USAGE, end="")
        return 0
    parser = argparse.ArgumentParser(prog="python -m megatinybert.doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--ranks", type=_count)
    parser.add_argument("--no-burst", action="store_true")
    own, options = parser.parse_known_args(options)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        print("error: the doctor is one process: start it without the launcher, and say --ranks N", file=sys.stderr)
        return 2
    try:
        asked = read_asked(options, _OF_RUNS)
    except OtherProgram as problem:
        print(f"error: {problem}{_NO_TASKS}", file=sys.stderr)
        return 2
    if any(finding.level == "fail" for finding in check_versions()):
        findings = Findings()
        findings.add(*(Finding("fail", "options", text) for text in [*asked.problems, *asked.absent]))
        findings.add(*check_versions())  # nothing else can be looked at without these
        print(findings_table(findings))
        return 2 if asked.mistaken else 1

    say("loading PyTorch and DeepSpeed")

    from megatinybert.runtime import dist

    try:
        world = dist.start()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        if asked.config is None:
            findings = examine_apart(asked, world)
        else:
            findings = examine(asked.config, own.ranks, not own.no_burst, world, began, asked.absent)
    finally:
        dist.stop()
    return 2 if asked.mistaken else 1 if findings.failed else 0


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of processes")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
