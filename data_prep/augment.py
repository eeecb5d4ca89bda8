"""Write more training rows for a task: rows of it with words replaced.

    python data_prep/augment.py --task NAME --data-dir FOLDER --model MASKED_LM_FOLDER --output FILE.jsonl

See docs/augment.md.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.runtime.signals import code_of, interrupt_at_term, silent_interrupts

with silent_interrupts():
    from megatinybert.config.augment import AUGMENT, AugmentOptions
    from megatinybert.config.hub import NotInCache, settle_hub
    from megatinybert.config.load import ConfigError, load_options
    from megatinybert.config.named_paths import missing_of_augment

if TYPE_CHECKING:
    from megatinybert.tasks.augment.report import AugmentReport


def main() -> int:
    """Exit code 0: done, 1: something is wrong with the disk or a worker, 2: with command or data, 130: Ctrl-C, 143:
    SIGTERM.
    """
    interrupt_at_term()
    try:
        options = load_options(sys.argv[1:], AUGMENT, missing_of_augment)
        return write_rows(options)
    except (ConfigError, NotInCache) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("\ninterrupted: run the same command with --resume to go on", file=sys.stderr)
        return code_of(interrupt)


def write_rows(options: AugmentOptions) -> int:
    settle_hub({"--model": options.model, "--tokenizer": options.tokenizer})
    print("loading PyTorch and Transformers", file=sys.stderr, flush=True)

    from megatinybert.tasks.augment.run import augment  # not before the options are read, since it takes seconds

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core, also where this process is the only one
    try:
        report = augment(options)
    except OSError as error:
        hint = " (free some space, then --resume)" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        print(f"error: {error.filename or options.output}: {error.strerror or error}{hint}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"error: {error}, and --resume", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(options, report))
    return 0


def summary(options: AugmentOptions, report: AugmentReport) -> str:
    totals = report.totals
    rewritten = f"{totals.selected:,} of them rewritten, {totals.words:,} words replaced"
    lines = [
        f"{options.output} is {'whole already' if report.was_whole else 'ready'}",
        f"{totals.rows:,} rows read, {rewritten}; {totals.rows_out:,} rows written, {report.seconds:,.0f} s",
    ]
    if report.about_vectors:
        lines.append(report.about_vectors)
    if totals.skipped:
        lines += [f"{totals.skipped:,} rows left out, since they cannot be parsed", *report.messages]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
