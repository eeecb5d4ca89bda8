"""Options of data_prep/build_shards.py."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from megatinybert.config.codec import Encoding
from megatinybert.config.flat import FilePath, FlatOptions
from megatinybert.config.program import Program
from megatinybert.config.values import Count, FractionBelowOne, Index, Names, Text

HELD_OUT_SHARE = 0.01  # of the documents, unless another is asked for


class BuildOptions(FlatOptions):
    """From text files to token shards."""

    input: Names = Field(
        description=".txt, .jsonl or .json files, plain, .gz, .zst, .bz2 or .xz, or .parquet or .arrow; all such files "
        "below a folder, by name"
    )
    tokenizer: Text = Field(description="the teacher's: a folder with tokenizer.json or vocab.txt, or a hub name")
    output: FilePath = Field(description="new folder of the shards")
    workers: Index = Field(0, description="processes, which change no byte (0: one per usable core)")
    shard_tokens: Count = Field(100_000_000, description="a shard ends with the document that reaches so many tokens")
    validation_fraction: FractionBelowOne = Field(
        HELD_OUT_SHARE, description="share of documents held out, chosen by a hash of their text"
    )
    text_key: Text = Field(
        "text", description="key of the text in JSON objects; column of the text of a .parquet or .arrow file"
    )
    document: Literal["auto", "blank-line", "line"] = Field(
        "auto", description="what parts the documents of a .txt file; auto: blank lines if its first MiB has any"
    )
    encoding: Encoding = Field(
        "utf-8",
        description="of .txt, .jsonl and .json files: any text codec of Python's (gb18030, big5, utf-16-le, ...); "
        "a byte-order mark has precedence",
    )
    invalid_utf8: Literal["error", "replace"] = Field(
        "error", description="what to do about bytes that are not valid in their encoding, whichever it is"
    )
    skip_bad_records: FractionBelowOne = Field(
        0.0,
        description="share of records (objects, rows, lines of .txt) that may be left out because they cannot be read, "
        "and are listed in left_out.jsonl (0: stop at the first)",
    )
    drop_duplicates: bool = Field(False, description="leave out copies of documents; the first one stays")
    tokenizer_engine: Literal["auto", "tokenizers", "fast"] = Field(
        "auto",
        description="library that tokenizes, which changes no byte; fast: nanotoken, checked against tokenizers; "
        "auto: fast if it is installed and supports the tokenizer",
    )
    ray: Text | None = Field(
        None,
        description="address of a Ray cluster whose workers tokenize, or auto; without a value: Ray on this machine "
        "(null: local processes)",
        json_schema_extra={"alone": "local"},
    )
    resume: bool = Field(False, description="continue an unfinished build")


_USAGE = """\
usage:
  python data_prep/build_shards.py --input FILE_OR_FOLDER ... --tokenizer NAME_OR_FOLDER --output FOLDER [...]

Turns text files into token shards (Megatron-LM's .bin/.idx files and a manifest). --input takes all words up to the
next option; --resume, --ray and --drop-duplicates need no value. A recipe is a YAML file of any of the options below
(shard_tokens: 1000000); those on the command line are applied over it, and VALUE null goes back to the default.
Relative paths are relative to the working directory.

  --config RECIPE.yaml          the recipe (none: command line and defaults only)
  --print-config                print the resolved configuration, itself a valid recipe, and stop
  --help                        print this text and stop
"""

SHARDS = Program(BuildOptions, _USAGE)
