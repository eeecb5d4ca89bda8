"""Turn text files into token shards.

    python data_prep/build_shards.py --input FILE_OR_FOLDER... --tokenizer NAME_OR_FOLDER --output FOLDER

Input: .txt and .jsonl, plain, .gz or .zst, in any encoding, and .parquet. Output: Megatron-LM's .bin/.idx
files and a manifest.json; see docs/shards.md.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.corpus.build import BuildOptions, build_corpus
from megatinybert.corpus.describe import build_summary
from megatinybert.corpus.sources import DataError


def parse(arguments: list[str] | None = None) -> BuildOptions:
    parser = argparse.ArgumentParser(
        description="Turn text files into token shards (Megatron-LM's .bin/.idx files and a manifest).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default = BuildOptions
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="FILE_OR_FOLDER",
        dest="inputs",
        default=argparse.SUPPRESS,
        help=".txt or .jsonl, plain, .gz or .zst, or .parquet; all such files below a folder, by name",
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="NAME_OR_FOLDER",
        default=argparse.SUPPRESS,
        help="the teacher's: a folder with tokenizer.json or vocab.txt, or a hub name",
    )
    parser.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="FOLDER",
        default=argparse.SUPPRESS,
        help="new folder of the shards",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=default.workers,
        help="processes; 0: one per usable core; changes no byte",
    )
    parser.add_argument(
        "--shard-tokens",
        type=int,
        default=default.shard_tokens,
        help="a shard ends with the document that reaches it",
    )
    parser.add_argument(
        "--validation-fraction",
        type=float,
        default=default.validation_fraction,
        help="share of documents held out, chosen by a hash of their text",
    )
    parser.add_argument(
        "--text-key",
        default=default.text_key,
        help="key of the text in the objects of a .jsonl file; column of the text of a .parquet file",
    )
    parser.add_argument(
        "--document",
        choices=("auto", "blank-line", "line"),
        default=default.document,
        help="what parts the documents of a .txt file; auto: blank lines if its first MiB has any",
    )
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        default=default.encoding,
        help="of .txt and .jsonl files: any text codec of Python's (gb18030, big5, utf-16-le, latin-1, ...); a "
        "byte-order mark has precedence",
    )
    parser.add_argument(
        "--invalid-utf8",
        choices=("error", "replace"),
        default=default.invalid_utf8,
        help="what to do about bytes that are not valid in their encoding, whichever it is",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an unfinished build")
    return BuildOptions(**vars(parser.parse_args(arguments)))


def main() -> int:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core, also where this process is the only one
    options = parse()
    try:
        report = build_corpus(options, show_progress=True)
    except KeyboardInterrupt:
        print("\ninterrupted: run the same command with --resume to go on", file=sys.stderr)
        return 130
    except OSError as error:
        hint = " (free some space, then --resume)" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
        print(f"error: {error.filename or options.output}: {error.strerror or error}{hint}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DataError | RuntimeError) else 2
    print(f"{options.output} is {'whole already' if report.was_whole else 'ready'}\n{build_summary(report)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
