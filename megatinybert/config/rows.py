"""Options that say how a task's files are read, and the names of tasks."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from megatinybert.config.codec import Encoding
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import Section
from megatinybert.config.values import Names, Text

# The names of `tasks.table.TASKS`, which is further up the house.
TASKS = ("cola", "sst-2", "mrpc", "sts-b", "qqp", "mnli", "qnli", "rte", "wnli", "custom")


def compact(name: str) -> str:
    """Letters and digits of a name, in lower case."""
    return "".join(filter(str.isalnum, name)).casefold()


def _known(name: str) -> str:
    known = {compact(task): task for task in TASKS}
    if compact(name) not in known:
        near = nearest(compact(name), known)
        hint = f"Did you mean {known[near]}? " if near else ""
        raise ValueError(f"no such task. {hint}There are {', '.join(TASKS)}")
    return name


TaskName = Annotated[Text, AfterValidator(_known)]


class RowOptions(Section):
    """How a task's files are read."""

    encoding: Encoding = Field(
        "utf-8", description="character encoding of the task's files, such as gb18030; a byte-order mark has precedence"
    )
    columns: Names | None = Field(
        None, description="names of the columns, in order, of .txt, .tsv and .csv files without a header"
    )
    text_a_column: Text | None = Field(
        None, description="column or key of the text, or of a pair's first (null: by the usual names)"
    )
    text_b_column: Text | None = Field(
        None, description="column or key of a pair's second text (null: by the usual names; none beside text_a_column)"
    )
    label_column: Text | None = Field(None, description="column or key of the label (null: by the usual names)")
    drop_labels: Names | None = Field(
        None, description="labels whose rows are left out and counted; -: also rows without a label"
    )

    @field_validator("text_b_column")
    @classmethod
    def _beside_the_first(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and info.data.get("text_a_column") is None:
            raise ValueError("names the second text of a pair: name the column of the first one, too (text_a_column)")
        return name

    @field_validator("columns")
    @classmethod
    def _that_differ(cls, names: list[str] | None) -> list[str] | None:
        if names and len({name.strip().lower() for name in names}) < len(names):
            raise ValueError("gives two columns the same name; columns that are not needed may have any")
        return names
