"""Options of the attention maps, in both programs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from megatinybert.config.schema import Section
from megatinybert.config.values import Index, list_of_one


class MonitorConfig(Section):
    """The attention maps of student and teacher in TensorBoard."""

    attention_layers: Annotated[list[Index], Field(min_length=1), BeforeValidator(list_of_one)] | None = Field(
        None, description="student layers, from 0 (null: all)"
    )
    attention_heads: Annotated[list[Index], Field(min_length=1), BeforeValidator(list_of_one)] | None = Field(
        None, description="heads, from 0 (null: the first 4)"
    )
    attention_interval: Index | None = Field(
        None,
        description="steps between pictures; also at step 0 and the last (null: the most of held_out_interval, 250 and"
        " an eighth of the run; 0: no pictures)",
    )
