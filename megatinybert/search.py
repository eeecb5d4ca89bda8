"""Searches text with a run's student and its teacher: python -m megatinybert.search RUN_DIR --text PATH."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from megatinybert.runtime.signals import silent_interrupts

ABOUT = """\
Puts questions to a text, by the student of a finished run and by its teacher, and compares what they find: passages
whose mean last hidden state is nearest to that of the question, by cosine. Nothing is trained for it. Of a task, the
teacher is the one that was named, without what it learnt of the task.
"""
# With RUN_DIR first: --text would take it for a text.
USAGE = "%(prog)s RUN_DIR --text PATH [PATH ...] [--question TEXT] [--questions FILE] [--passages N]"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m megatinybert.search", usage=USAGE, description=ABOUT)
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="the run's run.output_dir, of general distillation or of a task")
    add(
        "--text",
        type=Path,
        required=True,
        nargs="+",
        action="extend",
        metavar="PATH",
        help="files and folders of text, read as the run's own; blank lines part documents",
    )
    add("--question", action="append", default=[], metavar="TEXT", help="a question to show; may be repeated")
    add("--questions", type=Path, metavar="FILE", help="more questions, one a line; all count for the overlap")
    spread = "search so many passages at most, evenly spread (default %(default)s)"
    add("--passages", type=int, default=2000, metavar="N", help=spread)
    options = parser.parse_args(arguments)

    with silent_interrupts():
        from megatinybert.programs.search import search_run
        from megatinybert.programs.start import print_result

    asked = options.run_dir, options.text, options.question, options.questions, options.passages
    return print_result(lambda: search_run(*asked))


if __name__ == "__main__":
    sys.exit(main())
