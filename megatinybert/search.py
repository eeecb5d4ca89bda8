"""Searches a text with a run's student and its teacher: python -m megatinybert.search RUN_DIR --text FILE."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ABOUT = """\
Puts questions to a text, by the student of a finished run and by its teacher, and compares what they find: passages
whose mean last hidden state is nearest to that of the question, by cosine. Nothing is trained for it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m megatinybert.search", description=ABOUT)
    add = parser.add_argument
    add("run_dir", type=Path, metavar="RUN_DIR", help="the run's run.output_dir, of general distillation")
    add(
        "--text",
        type=Path,
        required=True,
        metavar="FILE",
        help="a text, read as the run's own; blank lines part documents",
    )
    add("--question", action="append", default=[], metavar="TEXT", help="a question to show; may be repeated")
    add("--questions", type=Path, metavar="FILE", help="more questions, one a line; all count for the overlap")
    add("--passages", type=int, default=2000, metavar="N", help="search so many passages at most (default %(default)s)")
    options = parser.parse_args(arguments)

    from megatinybert.programs.search import search_run
    from megatinybert.programs.start import print_result

    asked = options.run_dir, options.text, options.question, options.questions, options.passages
    return print_result(lambda: search_run(*asked))


if __name__ == "__main__":
    sys.exit(main())
