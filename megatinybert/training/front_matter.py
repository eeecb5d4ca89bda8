"""The front matter of a model card, and names that a card may show."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.utils import cached_file

from megatinybert.config.data import DataConfig
from megatinybert.config.schema import MADE_WEIGHTS
from megatinybert.corpus.run_text import corpora_of
from megatinybert.runtime.counts import some_of

_MOST_SHOWN = 8  # of the names of a text
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+|bert-[\w.-]+")  # those without an owner are the first BERTs


def front_matter(
    made_of: str | None,
    pipeline_tag: str,
    tags: Sequence[str],
    library_name: str = "transformers",
    chinese: bool = False,
) -> ModelCardData:
    """What a hub reads of a card: str() of it is the YAML between the two lines of dashes.

    made_of: folder or hub name of the teacher, or of the model that the first weights come from. It gives `base_model`
    and `language`, which are left out where it does not tell them. A hub takes `base_model` for the parent of this
    model in a tree of models. So a teacher that is a folder is not replaced by what it was made from itself, which the
    card tells in words; and `base_model_relation` is left out, which has no word for a distilled model.
    chinese: whether the text that this model has learnt is Chinese beyond doubt, whatever that other model is for.
    """
    told = _told_by_card(made_of, "language") if made_of else None
    return ModelCardData(
        language="zh" if chinese else told,
        library_name=library_name,
        pipeline_tag=pipeline_tag,
        tags=list(tags),
        base_model=_own_name(made_of) if made_of else None,
    )


def is_for_chinese(card: ModelCardData) -> bool:
    """Whether a model is for Chinese alone."""
    return card.language in ("zh", ["zh"])


def shown_model(name: str) -> str:
    """A model as a card may show it: its hub name, or its folder's name without a path, and what that was made from."""
    if own := _own_name(name):
        return own if _HUB_NAME.fullmatch(own) else shown_name(own)
    folder, origin = Path(name), _origin(name)
    return f"the folder '{folder.resolve().name}'{f' (from {origin})' if origin else ''}"


def shown_weights(init: str) -> str:
    """The first weights that --student.init names, as a card may show them."""
    return init if init in MADE_WEIGHTS else shown_model(init)


def shown_name(name: str) -> str:
    """A file or folder as a card may show it: without the folders that it is in."""
    return os.path.basename(os.path.abspath(name))


def shown_text(data: DataConfig) -> str:
    """The shards or files that a run read, as a card may show them: of a pattern such as *.txt those that it names."""
    names = [shown_name(name) for name in data.shards or data.text or []]
    if data.text and not data.shards:
        with suppress(ValueError):  # of a pattern whose files have gone by now
            corpora, _ = corpora_of(data)
            names = [some_of([shown_name(path) for path in paths], _MOST_SHOWN) for paths in corpora]
    if data.mixture:
        names = [f"{name} (weight {weight:g})" for name, weight in zip(names, data.mixture, strict=True)]
    return some_of(names, _MOST_SHOWN)


def _own_name(model: str) -> str | None:
    """The hub name of a model that was loaded by this name; None of a folder that is not of the hub's cache."""
    folder = Path(model)
    return _name_in_cache(folder) if folder.exists() else model  # it was loaded, so it is on the hub


def _origin(folder: str) -> str | None:
    """The hub name of what a folder's model was made from, or copied from, as its own files tell it: `_name_or_path` of
    its config.json, else `base_model` of its card.
    """
    told = [_configured_name(Path(folder)), *_base_models(folder)]
    return next((name for name in told if name and _HUB_NAME.fullmatch(name) and not Path(name).exists()), None)


def _name_in_cache(folder: Path) -> str | None:
    """Of a folder of the hub's cache, models--OWNER--NAME/snapshots/REVISION."""
    *_, repository, snapshots, _ = ("", "", *folder.absolute().parts)
    of_model = snapshots == "snapshots" and repository.startswith("models--")
    return repository.removeprefix("models--").replace("--", "/") if of_model else None


def _configured_name(folder: Path) -> str | None:
    with suppress(OSError, ValueError, AttributeError):
        name = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path")
        return name if isinstance(name, str) else None
    return None


def _base_models(model: str) -> list[str]:
    """What the model's own card says it was made from."""
    told = _told_by_card(model, "base_model")
    return [name for name in (told if isinstance(told, list) else [told]) if isinstance(name, str)]


def _told_by_card(model: str, key: str) -> Any:
    """A value of the front matter of the model's own card; None where none is on this machine or it does not say."""
    with suppress(OSError, ValueError):
        file = cached_file(model, "README.md", local_files_only=True)
        return getattr(ModelCard.load(str(file), ignore_metadata_errors=True).data, key, None)
    return None
