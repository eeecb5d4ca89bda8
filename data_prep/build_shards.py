"""Turn text files into token shards.

    python data_prep/build_shards.py --input FILE_OR_FOLDER... --tokenizer NAME_OR_FOLDER --output FOLDER

Input: .txt, .jsonl and .json, plain, .gz, .zst, .bz2 or .xz, in any encoding, and .parquet and .arrow. Output:
Megatron-LM's .bin/.idx files and a manifest.json; see docs/shards.md.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.runtime.signals import code_of, interrupt_at_term, silent_interrupts

with silent_interrupts():
    from megatinybert.config.hub import NotInCache, settle_hub
    from megatinybert.config.load import ConfigError, load_options
    from megatinybert.config.shards import SHARDS, BuildOptions


def main() -> int:
    """Exit code 0: done, 1: something is wrong with the data or the disk, 2: with the command, 130: Ctrl-C, 143:
    SIGTERM.
    """
    interrupt_at_term()
    try:
        options = load_options(sys.argv[1:], SHARDS)
        return build(options)
    except (ConfigError, NotInCache) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("\ninterrupted: run the same command with --resume to go on", file=sys.stderr)
        return code_of(interrupt)


def build(options: BuildOptions) -> int:
    from megatinybert.corpus.wrong_text import wrong_input  # and with it numpy, which --help need not wait for
    from megatinybert.runtime.findings import refusal

    if wrong := wrong_input(options):
        print(f"error: {refusal(wrong)}", file=sys.stderr)
        return 1
    settle_hub({"--tokenizer": options.tokenizer})
    # Not before the options are read, since it takes seconds.
    from megatinybert.corpus.build import build_corpus
    from megatinybert.corpus.describe import build_summary
    from megatinybert.corpus.manifest import is_mostly_unknown
    from megatinybert.corpus.sources import DataError

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core, also where this process is the only one
    try:
        report = build_corpus(options, show_progress=True)
    except OSError as error:
        hint = " (free some space, then --resume)" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        print(f"error: {error.filename or options.output}: {error.strerror or error}{hint}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"error: {error}, and --resume", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DataError) else 2
    state = "whole already" if report.was_whole else "ready"
    print(f"{options.output} is {state}\n{build_summary(report, options.names)}")
    if is_mostly_unknown(report.manifest):
        print("error: more than half of the tokens are [UNK]: a run refuses these shards", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
