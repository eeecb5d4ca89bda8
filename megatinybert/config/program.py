"""What a command line is read by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from megatinybert.config.schema import ProgramConfig

Schema = TypeVar("Schema", bound=ProgramConfig)


@dataclass(frozen=True)
class Program(Generic[Schema]):
    """usage: the beginning of --help. words: options that are none of the schema's."""

    schema: type[Schema]
    usage: str
    words: Sequence[str] = ("config", "print-config", "help")
