"""Write more training rows for a task: rows of it with words replaced.

    python data_prep/augment.py --task NAME --data-dir FOLDER --model MASKED_LM_FOLDER --output FILE.jsonl

See docs/augment.md.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.tasks.augment.options import AugmentOptions, AugmentReport
from megatinybert.tasks.augment.run import BATCH_TOKENS, OTHER_COPIES, PUBLISHED_COPIES, augment


def parse(arguments: list[str] | None = None) -> AugmentOptions:
    parser = argparse.ArgumentParser(
        description="Write a task's training rows, each followed by copies with words replaced (TinyBERT, algorithm 1)."
    )
    default = AugmentOptions
    published = ", ".join(f"{name} {copies}" for name, copies in PUBLISHED_COPIES.items())
    batches = ", ".join(f"{tokens:,} on {device}" for device, tokens in BATCH_TOKENS.items())
    parser.add_argument("--task", required=True, metavar="NAME", help="sst-2, cola, ... or custom")
    parser.add_argument("--data-dir", required=True, metavar="FOLDER", help="where the task's files are")
    parser.add_argument("--labels", nargs="+", metavar="NAME", help="of a custom task, in the order of its outputs")
    parser.add_argument(
        "--kind",
        choices=("auto", "classification", "regression"),
        default=default.kind,
        help="of a custom task; auto: by its labels",
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME_OR_FOLDER", help="a BERT with its masked-LM head, which proposes words"
    )
    parser.add_argument("--tokenizer", metavar="NAME_OR_FOLDER", help="(default: the model's own)")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE.jsonl", help="new file of all rows")
    parser.add_argument(
        "--copies", type=int, metavar="N", help=f"of each row, at most (default: {published}, others {OTHER_COPIES})"
    )
    parser.add_argument(
        "--probability",
        type=float,
        metavar="P",
        default=default.probability,
        help="of a word to be replaced in a copy (default: %(default)s)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="M",
        default=default.candidates,
        help="words that a word may be replaced with (default: %(default)s)",
    )
    parser.add_argument(
        "--vectors",
        type=Path,
        metavar="FILE",
        help="word vectors in GloVe's text format, for words of several pieces (default: the model proposes those too)",
    )
    parser.add_argument(
        "--segmenter",
        choices=("none", "jieba"),
        default=default.segmenter,
        help="jieba: replace Chinese words, not characters; needs the package jieba",
    )
    parser.add_argument(
        "--rows",
        type=int,
        metavar="K",
        default=default.rows,
        help="rewrite only K rows, chosen by a hash; the others are written as they are (default: all)",
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="of all draws (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="W",
        default=default.workers,
        help="processes, which change no byte (default: one per usable core; one on a GPU)",
    )
    parser.add_argument(
        "--batch-tokens", type=int, metavar="T", help=f"of a forward pass, padding included (default: {batches})"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default=default.device)
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="leave out rows that cannot be parsed, and say how many they were"
    )
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished file")
    return AugmentOptions(**vars(parser.parse_args(arguments)))


def summary(options: AugmentOptions, report: AugmentReport) -> str:
    totals = report.totals
    rewritten = f"{totals.selected:,} of them rewritten, {totals.words:,} words replaced"
    lines = [
        f"{options.output} is {'whole already' if report.was_whole else 'ready'}",
        f"{totals.rows:,} rows read, {rewritten}; {totals.rows_out:,} rows written, {report.seconds:,.0f} s",
    ]
    if totals.skipped:
        lines += [f"{totals.skipped:,} rows left out, since they cannot be parsed", *report.messages]
    return "\n".join(lines)


def main() -> int:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core, also where this process is the only one
    options = parse()
    try:
        report = augment(options)
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command with --resume to go on", file=sys.stderr)
        return 130
    except OSError as error:
        hint = " (free some space, then --resume)" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        print(f"error: {error.filename or options.output}: {error.strerror or error}{hint}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2
    print(summary(options, report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
