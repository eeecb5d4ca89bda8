"""Options of what a student learns of its teacher's layers, in both programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from megatinybert.config.schema import Section
from megatinybert.config.values import Index, NonNegative, list_of_one


def _one_layer(value: object) -> object:
    return list_of_one(value) if str(value).isdecimal() else value


class TransferConfig(Section):
    """What the student learns of the teacher's layers."""

    attention_weight: NonNegative = Field(1.0, description="weight of the attention-score term (0: off)")
    hidden_weight: NonNegative = Field(1.0, description="weight of the hidden-state term (0: off)")
    embedding_weight: NonNegative = Field(1.0, description="weight of the embedding term (0: off)")
    layer_map: Annotated[
        Literal["uniform", "top", "bottom"] | Annotated[list[Index], Field(min_length=1)], BeforeValidator(_one_layer)
    ] = Field("uniform", description="teacher layer of each student layer; a list ascends and counts from 0")
    projection: Literal["shared", "per-layer"] = Field(
        "shared", description="one linear map from student to teacher width for all layers, or one each"
    )
    normalize: Literal["reference", "valid"] = Field(
        "reference",
        description="means over all positions, as in TinyBERT's code (reference), or unpadded ones (valid)",
    )

    @field_validator("layer_map")
    @classmethod
    def _ascends(cls, value: str | list[int]) -> str | list[int]:
        if isinstance(value, list) and value != sorted(set(value)):
            raise ValueError("the layers must rise strictly: the first student layer learns from the first of them")
        return value

    @model_validator(mode="after")
    def _some_term(self) -> TransferConfig:
        if self.attention_weight == self.hidden_weight == self.embedding_weight == 0:
            raise ValueError(
                "--objective.attention_weight, --objective.hidden_weight and --objective.embedding_weight"
                " are all 0, which leaves nothing to learn; give at least one a weight above 0"
            )
        return self
