"""The JSON files beside the shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from megatinybert.corpus.vocabulary import are_mostly_unknown

MANIFEST = "manifest.json"
PROGRESS = "progress.json"
LEFT_OUT = "left_out.jsonl"  # records that could not be read

Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Model = TypeVar("Model", bound=BaseModel)


class NoShards(ValueError):
    """A path names no shards, or none that are whole; the message begins with it."""


class Record(BaseModel):
    """What is kept as JSON beside the shards. Keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardEntry(Record):
    """One shard. tokens, sequences and documents are counts; sizes are in bytes; checksums are sha256 in
    hex. prefix: a name in the folder, so it leads nowhere else.
    """

    split: Literal["train", "validation"]
    prefix: str = Field(pattern=r"^[^./\x00][^/\x00]*$")
    dtype: str = Field(pattern="^(u?int(8|16)|int(32|64))$")
    tokens: Count
    sequences: Count
    documents: Count
    bin_bytes: Count
    bin_sha256: str
    idx_bytes: Count
    idx_sha256: str


class SourceEntry(Record):
    """One input file. bytes: of the file; text_bytes and sha256: of its text in UTF-8 with LF line ends, for
    .parquet of the texts of its rows and where they end; encoding: of the file, by Python's name of the codec.
    """

    name: str
    bytes: int
    text_bytes: int
    sha256: str
    layout: str
    encoding: str = "utf-8"


class Manifest(Record):
    """A finished corpus. It is written last: where there is one, the corpus is whole.

    records: JSON objects and rows, and lines of .txt files, left_out_records included. unknown_tokens: how many are
    [UNK]; duplicate_documents: of which there was one before, counted or dropped; None where they were not counted.
    warnings: what a person should look at. engines: packages, with versions, that tokenized it; they change no byte of
    the shards.
    """

    format_version: Literal[1] = 1
    created_by: str
    tokenizer_name: str
    tokenizer_fingerprint: str
    vocab_size: int
    special_ids: dict[str, int]
    options: dict[str, bool | str | int | float]
    sources: list[SourceEntry]
    shards: list[ShardEntry]
    totals: dict[str, dict[str, int]]
    empty_documents: int
    replaced_characters: int
    records: int = 0
    left_out_records: int = 0
    unknown_tokens: int | None = None
    duplicate_documents: int | None = None
    warnings: list[str] = Field(default_factory=list)
    engines: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _check_totals(self) -> Manifest:
        if self.totals != totals(self.shards):
            raise ValueError("the totals are not the sums over the shards")
        return self


def totals(shards: Sequence[ShardEntry]) -> dict[str, dict[str, int]]:
    """Per split, how many shards, documents, sequences and tokens there are."""
    sums = {}
    for split in ("train", "validation"):
        entries = [entry for entry in shards if entry.split == split]
        counts = {name: sum(getattr(entry, name) for entry in entries) for name in ("documents", "sequences", "tokens")}
        sums[split] = {"shards": len(entries), **counts}
    return sums


def share_of_unknown(manifest: Manifest) -> float:
    """The share of [UNK] in the tokens of the text, without [SEP]. They have to be counted."""
    assert manifest.unknown_tokens is not None
    return manifest.unknown_tokens / max(_text_tokens(manifest), 1)


def is_mostly_unknown(manifest: Manifest) -> bool:
    """Whether so many of the tokens are [UNK] that nothing is trained on them, as far as they were counted."""
    unknown = manifest.unknown_tokens
    return unknown is not None and are_mostly_unknown(unknown, _text_tokens(manifest))


def _text_tokens(manifest: Manifest) -> int:
    """How many there are without [SEP]."""
    return sum(entry.tokens - entry.documents for entry in manifest.shards)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder. Raises NoShards where there is none, and ValueError where it is damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / PROGRESS).is_file():
            raise NoShards(f"{folder} is unfinished (no {MANIFEST}): run build_shards.py again with --resume")
        raise NoShards(
            f"{folder} holds no {MANIFEST}: it is not a folder of build_shards.py. "
            "A Megatron dataset is named by its prefix"
        )
    return read_record(Manifest, path)


def read_record(kind: type[Model], path: Path) -> Model:
    """Read a JSON file. Raises ValueError where it is damaged or of another version."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the text"
        raise ValueError(f"{path} is damaged or of another version ({place}: {first['msg']})") from error
