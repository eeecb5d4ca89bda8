"""Options of the text of general distillation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from megatinybert.config.codec import Encoding
from megatinybert.config.schema import Section
from megatinybert.config.values import Count, Fraction, FractionBelowOne, Names, Positive, Text, Whole, list_of_one


class DataConfig(Section):
    """The text, as token shards or to be made into them, and how windows are cut from it, mixed and ordered."""

    shards: Names | None = Field(
        None, description="folders of data_prep/build_shards.py, or prefixes of Megatron .bin/.idx datasets"
    )
    text: Names | None = Field(
        None,
        validate_default=True,
        description="instead of shards: files, folders or patterns such as 'data/*.txt'; sharded on first use",
    )
    cache: Text = Field("data/cache", description="folder for shards built from data.text")
    encoding: Encoding = Field("utf-8", description="character encoding of data.text")
    invalid_utf8: Literal["error", "replace"] = Field(
        "error", description="bytes of data.text that are not valid in its encoding: stop, or replace them by U+FFFD"
    )
    text_key: Text = Field(
        "text", description="key of the text in .jsonl objects, or its column in a .parquet or .arrow file"
    )
    document: Literal["auto", "blank-line", "line"] = Field(
        "auto", description="what separates documents in a .txt file; auto: blank lines if its first MiB has any"
    )
    skip_bad_records: FractionBelowOne = Field(
        0.0, description="share of the text's records that may be left out because they cannot be read (0: stop)"
    )
    mixture: Annotated[list[Positive], Field(min_length=1), BeforeValidator(list_of_one)] | None = Field(
        None,
        description="weight of each entry of shards or text (null: all form one corpus)",
    )
    sequence_length: Whole = Field(128, ge=8, description="tokens per window, including special tokens")
    pair_probability: Fraction = Field(
        0.5, description="share of windows split into segments A and B; none if a model has one segment type"
    )
    position_skips: Fraction = Field(
        0.0, description="share of windows whose positions skip ahead, to prepare longer windows"
    )
    short_rows: Fraction = Field(
        0.3,
        description="share of steps whose windows are cut into rows of a half, a quarter or an eighth (0 by default"
        " where the student is not solved)",
    )
    shuffle_block: Count = Field(
        1,
        description="neighbouring windows read together; 1: full shuffle; thousands suit a shared disk",
    )
    held_out_windows: Whole = Field(256, ge=3, description="number of held-out windows")

    @field_validator("text")
    @classmethod
    def _shards_or_text(cls, text: list[str] | None, info: ValidationInfo) -> list[str] | None:
        shards = info.data.get("shards", [])  # where they are wrong themselves, that is reported
        if text is None and shards is None:
            raise ValueError("--data.shards or --data.text: one of them is required, and neither is given")
        if text and shards:
            raise ValueError(f"stands beside --data.shards {' '.join(shards)}; give one of the two")
        return text

    @field_validator("mixture")
    @classmethod
    def _weight_for_each(cls, mixture: list[float] | None, info: ValidationInfo) -> list[float] | None:
        option = "shards" if info.data.get("shards") else "text"
        entries = info.data.get(option)
        if mixture and entries and len(mixture) != len(entries):
            raise ValueError(
                f"needs as many weights as --data.{option} has entries, {len(entries)} ({' '.join(entries)}), "
                f"not {len(mixture)}"
            )
        return mixture
