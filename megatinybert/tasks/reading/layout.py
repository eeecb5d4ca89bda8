"""How a task's files are read, as the user says: encoding, columns, labels that are no labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from megatinybert.config.flat import OptionNames
from megatinybert.config.rows import RowOptions

# What launch/task.sh calls the options that say where rows come from and how they are read.
TASK_NAMES = OptionNames(
    {"task": "--task.name"}
    | {field: f"--task.{field}" for field in ("data_dir", "labels", "kind", "skip_bad_rows", *RowOptions.model_fields)}
)
NO_LABEL = "-"  # what CLUE's and SNLI's files write where annotators did not agree


@dataclass(frozen=True)
class Layout:
    """encoding: a text codec of Python's. columns: of files without a header, in order; () where each file has one.

    text_a, text_b, label: names of columns or keys; None where the usual ones are looked for (a text_a that is named,
    without a text_b, makes single texts). drop_labels: whose rows are left out; NO_LABEL stands for no label, too.
    files: the task's, for all of which the encoding holds. names: of the options.
    """

    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    text_a: str | None = None
    text_b: str | None = None
    label: str | None = None
    drop_labels: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    names: OptionNames = field(default_factory=lambda: TASK_NAMES)


def layout_of(options: RowOptions, names: OptionNames = TASK_NAMES) -> Layout:
    """What these options ask for. names: of the options."""
    return Layout(
        encoding=options.encoding,
        columns=tuple(options.columns or ()),
        text_a=options.text_a_column,
        text_b=options.text_b_column,
        label=options.label_column,
        drop_labels=tuple(options.drop_labels or ()),
        names=names,
    )


def given(options: RowOptions) -> dict[str, str]:
    """The options that are not at their defaults, as they are recorded."""
    default = RowOptions()
    values = {field: getattr(options, field) for field in RowOptions.model_fields}
    changed = {field: value for field, value in values.items() if value != getattr(default, field)}
    return {field: " ".join(value) if isinstance(value, list) else str(value) for field, value in changed.items()}
