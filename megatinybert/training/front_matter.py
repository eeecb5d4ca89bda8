"""The front matter of a model card, and names that a card may show."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.utils import cached_file

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+|bert-[\w.-]+")  # those without an owner are the first BERTs


def front_matter(
    made_of: str | None, pipeline_tag: str, tags: Sequence[str], library_name: str = "transformers"
) -> ModelCardData:
    """What a hub reads of a card: str() of it is the YAML between the two lines of dashes.

    made_of: folder or hub name of the teacher, or of the model that the first weights come from. It gives `base_model`
    and `language`, which are left out where it does not tell them.
    """
    return ModelCardData(
        language=_language(made_of) if made_of else None,
        library_name=library_name,
        pipeline_tag=pipeline_tag,
        tags=list(tags),
        base_model=hub_name(made_of) if made_of else None,
    )


def hub_name(model: str) -> str | None:
    """The hub name of a model that was loaded by this name. A folder has one where its config.json tells it."""
    folder = Path(model)
    if not folder.exists():  # it was loaded, so it is on the hub
        return model
    with suppress(OSError, ValueError):
        name = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path")
        if isinstance(name, str) and _HUB_NAME.fullmatch(name) and not Path(name).exists():
            return name
    return None


def shown_name(name: str) -> str:
    """A file, folder or hub name as a card may show it: of an absolute path the last part alone."""
    return Path(name).name if Path(name).is_absolute() else name


def _language(model: str) -> Any:
    """What the model's own card says, a string or a list; None where none is on this machine or it does not say."""
    with suppress(OSError, ValueError):
        file = cached_file(model, "README.md", local_files_only=True)
        return ModelCard.load(str(file), ignore_metadata_errors=True).data.language
    return None
