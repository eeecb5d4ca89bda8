"""Reports a finished run: python -m megatinybert.report RUN_DIR."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.signals import silent_interrupts


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m megatinybert.report", description="Sum up a finished run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's run.output_dir")
    folder = parser.parse_args(arguments).run_dir

    with silent_interrupts():
        from megatinybert.programs.family_report import report_folder
        from megatinybert.programs.start import print_result

    return print_result(lambda: report_folder(folder))


if __name__ == "__main__":
    sys.exit(main())
