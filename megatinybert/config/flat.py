"""Shared by programs without option sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from megatinybert.config.schema import ProgramConfig


def _not_empty(value: object) -> object:
    if value == "":  # which pathlib takes for the working directory
        raise ValueError("must be text")
    return value


FilePath = Annotated[Path, BeforeValidator(_not_empty)]


class OptionNames(dict[str, str]):
    """What a person calls the options, by field: "--text-key" for text_key, where nothing else is said.

    Code that several programs share takes its names from here, so that a message names an option of the program that
    is run.
    """

    def __missing__(self, field: str) -> str:
        return f"--{field.replace('_', '-')}"


class FlatOptions(ProgramConfig):
    """All options of a program without sections. names: not an option, but what the caller's options are called."""

    names: SkipJsonSchema[InstanceOf[OptionNames]] = Field(default_factory=OptionNames, exclude=True, repr=False)

    @staticmethod
    def without_effect(values: Mapping[str, Any]) -> dict[str, str]:
        return {}
