"""Which library turns text into ids: nanotoken where it may be used, else tokenizers."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tokenizers import Tokenizer
from tokenizers import __version__ as _tokenizers_version

from megatinybert.corpus.fast_engine import EngineDifference, EngineUnavailable, FastEngine
from megatinybert.corpus.reference_engine import Engine, ReferenceEngine
from megatinybert.corpus.tokenizer import tokenizer_from_json

Asked = Literal["auto", "tokenizers", "fast"]
EngineName = Literal["tokenizers", "fast"]


class EngineChoice(NamedTuple):
    """version: package and version. reason: why "auto" does not take the fast engine, for people. opened: the engine,
    where it had to be opened to choose it.
    """

    name: EngineName
    version: str
    reason: str | None
    opened: Engine | None = None


def open_engine(tokenizer_json: str, name: EngineName) -> Engine:
    """An engine for a tokenizer of `load_tokenizer`, by its `to_str()`.

    Raises EngineUnavailable and EngineDifference as FastEngine does; for "tokenizers" neither.
    """
    tokenizer = tokenizer_from_json(tokenizer_json)
    # It adds special tokens, which are not wanted here, and copies every encoding even so.
    tokenizer.post_processor = None
    return FastEngine(tokenizer_json, tokenizer) if name == "fast" else ReferenceEngine(tokenizer)


def choose_engine(tokenizer: Tokenizer, asked: Asked) -> EngineChoice:
    """Choose an engine by trying the fast one. Raises ValueError where "fast" is asked for and cannot be used."""
    if asked == "tokenizers":
        return slow_choice(None)
    try:
        engine = open_engine(tokenizer.to_str(), "fast")
    except (EngineUnavailable, EngineDifference) as error:
        if asked == "fast":
            raise
        return slow_choice(str(error))
    return EngineChoice("fast", FastEngine.version(), None, engine)


def auto_engine(tokenizer: Tokenizer) -> Engine:
    """The fast engine where it may be used, else tokenizers. Takes some tenths of a second to prove the fast one."""
    tokenizer_json = tokenizer.to_str()
    try:
        return open_engine(tokenizer_json, "fast")
    except (EngineUnavailable, EngineDifference):
        return open_engine(tokenizer_json, "tokenizers")


def slow_choice(reason: str | None) -> EngineChoice:
    return EngineChoice("tokenizers", f"tokenizers {_tokenizers_version}", reason)
