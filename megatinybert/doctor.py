"""Looks at a run before it is started: what is wrong with it, and how long it will take."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from megatinybert.config.load import ConfigError, GeneralConfig, load_config
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.runtime.versions import check_versions

if TYPE_CHECKING:
    from megatinybert.programs.estimate import Estimate
    from megatinybert.runtime.dist import World
    from megatinybert.training.run import Ready

USAGE = """\
usage:
  python -m megatinybert.doctor [--config RECIPE.yaml] [--section.key VALUE ...] [--ranks N] [--no-burst]

Looks at everything that general distillation with the same options would read, prints what is well, what to
look at and what is wrong, and measures a few steps to tell how long the run will take. Nothing is written to
--run.output_dir. What is wrong here, the run refuses at its start.

  --ranks N       processes of the run (default: what the launcher starts on this machine)
  --no-burst      measure nothing, for machines that the run will not be on
  --help          print this text and stop; python -m megatinybert.general --help lists the options of a run

Exit code: 0, also with warnings; 1 where something is wrong; 2 for a mistake in the options.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    began = time.perf_counter()
    options = list(sys.argv[1:] if arguments is None else arguments)
    if "--help" in options or "-h" in options:
        print(USAGE, end="")
        return 0
    parser = argparse.ArgumentParser(prog="python -m megatinybert.doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--ranks", type=_count)
    parser.add_argument("--no-burst", action="store_true")
    own, options = parser.parse_known_args(options)
    try:
        config = load_config(options)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("the doctor is one process: start it without the launcher, and say --ranks N")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if any(finding.level == "fail" for finding in check_versions()):
        findings = Findings()
        findings.add(*check_versions())  # nothing else can be looked at without these
        print(_report(findings))
        return 1

    from megatinybert.runtime import dist

    try:
        world = dist.start()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        findings = examine(config, own.ranks, not own.no_burst, world, began)
    finally:
        dist.stop()
    return 1 if findings.failed else 0


def examine(config: GeneralConfig, ranks: int | None, burst: bool, world: World, began: float) -> Findings:
    """Look, and print what is found. world: this process alone. began: its start, by time.perf_counter."""
    from deepspeed.accelerator import get_accelerator

    from megatinybert.programs.estimate import estimate
    from megatinybert.programs.prepare import look, silence_transformers
    from megatinybert.runtime.dist import World
    from megatinybert.training.checks import check_accelerator, check_apex

    silence_transformers()
    ranks = ranks or get_accelerator().device_count()
    findings = Findings()
    findings.add(check_accelerator(world.device), check_apex())
    ready = look(config, World(0, ranks, world.device), findings)
    if ready:
        findings.add(_where_it_starts(ready))
    print(_report(findings), flush=True)
    if ready and burst and ready.start.first_step < ready.stage.max_steps:
        print("\nmeasuring ...", file=sys.stderr, flush=True)
        start_up = time.perf_counter() - began
        found = findings.attempt("burst", estimate, ready, ranks, world)
        print("\n" + (estimate_table(found, start_up, ranks) if found else _report(findings)))
    return findings


def _report(findings: Findings) -> str:
    rows = table([(finding.level, finding.subject, finding.text) for finding in findings.all])
    failures, warnings = (len(findings.texts(level)) for level in ("fail", "warn"))
    refused = " A run would refuse to start." if failures else ""
    return f"{rows}\n\n{failures} wrong, {warnings} to look at.{refused}"


def _where_it_starts(ready: Ready) -> Finding:
    done, steps, start = ready.start.first_step, ready.stage.max_steps, ready.start.checkpoint
    if start is None:
        text = "new: the run begins at step 0"
    elif done >= steps:
        text = f"{start} is the end of this run: nothing is left to do but to export the student"
    else:
        text = f"the run continues from {start}: {done:,} of {steps:,} steps are done"
    return Finding("ok", "output folder", text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows of cells; the last one of each is broken into lines to fit the terminal."""
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]) - 1)]
    width = max(shutil.get_terminal_size((120, 24)).columns, 80) - sum(widths)
    lines = []
    for *cells, text in rows:
        parts = [
            part
            for line in text.splitlines()
            for part in textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        ]
        start = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        lines += [start + parts[0], *(" " * len(start) + part for part in parts[1:])]
    return "\n".join(lines)


def estimate_table(found: Estimate, start_up: float, ranks: int) -> str:
    """What the run will take. start_up: seconds that the doctor itself took to get so far."""
    from megatinybert.training.disk import size

    step = sum(found.parts.values())
    shares = ", ".join(f"{name} {100 * seconds / step:.0f} %" for name, seconds in found.parts.items())
    alone = f"{found.measured_steps} steps measured on one process of this machine"
    if ranks > 1:
        alone += f", with the share of one of {ranks} ranks: their waiting for one another is not in it"
    parts = [f"start-up {duration(start_up)}", f"steps {duration(found.steps * step)}"]
    parts += [f"{each.times} x {each.name} {duration(each.times * each.seconds)}" for each in found.occasions]
    rows = {
        "to do": f"{found.steps:,} steps, {found.steps * found.tokens_per_step:,} tokens",
        "speed": f"{found.tokens_per_second:,.0f} tokens/s, {step:.3g} s a step ({alone})",
        "of a step": shares,
        "time": f"{duration(start_up + found.seconds)}: {', '.join(parts)}",
        "memory": f"{size(found.peak_bytes)} at the most in that process",
        "checkpoint": size(found.checkpoint_bytes),
    }
    return table(list(rows.items()))


def duration(seconds: float) -> str:
    """A time for people."""
    for limit, unit in ((120, 1), (7200, 60), (172_800, 3600)):
        if seconds < limit:
            return f"{seconds / unit:.3g} {({1: 's', 60: 'minutes', 3600: 'hours'})[unit]}"
    return f"{seconds / 86_400:.3g} days"


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of processes")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
