"""What to say of a file whose columns, or keys, are not those that a task needs: the likely cause before all else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from megatinybert.config.nearest import nearest
from megatinybert.config.rows import compact
from megatinybert.tasks.reading.columns import LABELS, PAIRS, SINGLES, TEXTS, as_named, find_place, first_of
from megatinybert.tasks.reading.headless import if_headless
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.misspelt import Hints, misspelt, plain
from megatinybert.tasks.reading.parting import parted_otherwise
from megatinybert.tasks.table import OWN_COLUMNS, TASKS, Task


def wrong_table(task: Task, path: Path, names: Sequence[str], with_labels: bool) -> str:
    """Of a table. names: of its columns, as its header has them, or as the option says."""
    layout, option = task.layout, task.layout.names["columns"]
    listed = ", ".join(name.strip() or '""' for name in names)
    where = f"{option} {' '.join(names)} has" if layout.columns else "its header has"
    parted = None if layout.columns else parted_otherwise(names, path.name, _usual(layout))
    if parted and parted.sure:
        return parted.text
    lower = [name.strip().lower() for name in names]
    headless = "" if layout.columns else if_headless(layout.names)
    wrong, near = _misnamed(layout, lower, with_labels), _misspelt_of(task, lower, with_labels)
    if wrong:
        told = f"{where} {wrong}{'' if layout.columns else f'; it has {listed}'}{headless}"
    elif near.whole:
        told = f"{where} the columns {listed}. {near.text}"
    elif unlabelled := _only_label(task, lower, with_labels):
        told = f"{where} the columns {listed}, {unlabelled}"
    else:
        told = (
            f"{where} the columns {listed}; {_needed(task, lower, with_labels)}"
            f"{f'. {near.text}' if near.text else headless}"
        )
    meant = of_other_task(task, path, lower)
    told += f". {meant[0].upper()}{meant[1:]}" if meant else ""
    return f"{parted.text}. If they are not, {told}" if parted else told


def of_other_task(task: Task, path: Path, names: Sequence[str]) -> str:
    """A question where a file of an official task is another one's; "" where it is not. names: in lower case."""
    given = task.layout.columns or task.layout.text_a or task.layout.label
    if given or task.name == "custom":
        return ""
    found = [name for name, other in TASKS.items() if name != "custom" and _is_of(other, names)]
    if not found or task.name in found:
        return ""
    meant = next((name for name in found if compact(name) == compact(path.parent.name)), found[0])
    return f"these columns are those of {' and '.join(found)}: did you mean {task.layout.names['task']} {meant}?"


def _is_of(task: Task, names: Sequence[str]) -> bool:
    """Whether columns of these names are those of an official task, or the first row of its file without a header."""
    if task.header:
        return len(names) == len(task.header) and names[task.header.index(task.columns.label[0])] in task.values
    texts, every = (
        {name.lower() for each in tasks for name in (*each.columns.text_a, *each.columns.text_b)}
        for tasks in ([task], (each for each in TASKS.values() if each.name != "custom"))
    )
    return every.intersection(names) == texts and task.columns.label[0].lower() in names


def wrong_object(task: Task, names: Sequence[str], with_labels: bool) -> str:
    """Of an object. names: of its keys, in lower case."""
    task, no_columns = replace(task, layout=_of_keys(task.layout)), _no_columns(task.layout)
    wrong, near = _misnamed(task.layout, names, with_labels, "key"), _misspelt_of(task, names, with_labels)
    if wrong:
        return wrong + no_columns
    listed = f"its keys are {', '.join(names)}"
    if near.whole:
        return f"{listed}. {near.text}{no_columns}"
    if unlabelled := _only_label(task, names, with_labels):
        return f"{listed}, {unlabelled}{no_columns}"
    return f"{listed}; {_needed(task, names, with_labels)}{f'. {near.text}' if near.text else ''}{no_columns}"


def no_label(task: Task, names: Sequence[str]) -> str:
    """Of a file of objects without any label. names: of the keys of one, in lower case."""
    keys = f"its keys are {', '.join(names)}, "
    return _misnamed(task.layout, names, True, "key") or keys + _only_label(task, names, True)


def no_text(names: Sequence[str], layout: Layout, file: str) -> str:
    """Of a file of which no column is known as a text; what is wrong with the label's is told, too."""
    option, of_table = layout.names, file.endswith("sv")
    of_keys = file.lower().endswith((".json", ".jsonl"))
    kind, no_columns = ("keys", _no_columns(layout)) if of_keys else ("columns", "")
    layout = _of_keys(layout) if of_keys else layout
    parted = parted_otherwise(names, file, _usual(layout)) if of_table and not layout.columns else None
    if parted and parted.sure:
        return f"{file}: {parted.text}"
    near = misspelt(names, {"text_a_column": TEXTS} | ({} if layout.label else {"label_column": LABELS}), layout)
    listed, wrong = ", ".join(names), _misnamed(layout, names, True)
    if near.whole and not wrong:
        return f"{file}: its {kind} are {listed}. {near.text}{no_columns}"
    label, too = "", ""
    if not layout.label and first_of(LABELS, names) is None:
        label, too = f", or for a label ({', '.join(LABELS)})", f", and the label with {option['label_column']}"
    told = (
        f"none of its {kind} ({listed}) has a usual name for a text ({', '.join(TEXTS)}){label}: name the text with "
        f"{option['text_a_column']}, in pairs the second one with {option['text_b_column']}{too}"
    )
    told += f". It has {wrong}" if wrong else ""
    told += f". {near.text}" if near.text else if_headless(option) if of_table else ""
    return f"{file}: {parted.text}. If they are not, {told}" if parted else f"{file}: {told}{no_columns}"


def _of_keys(layout: Layout) -> Layout:
    """As objects are read, whose keys no option gives in order."""
    return replace(layout, columns=())


def _no_columns(layout: Layout) -> str:
    option = layout.names["columns"]
    return f". {option} is for tables without a header, and says nothing of keys" if layout.columns else ""


def _usual(layout: Layout) -> set[str]:
    """What texts and label may be called."""
    named = (name.lower() for name in (layout.text_a, layout.text_b, layout.label) if name)
    return {*TEXTS, *LABELS, *named}


def _only_label(task: Task, names: Sequence[str], with_labels: bool) -> str:
    """What to say of a file that lacks its label alone, after its columns; "" of any other. names: in lower case."""
    place = find_place(task, names, False, "") if with_labels else None
    if place is None:
        return ""
    usual = "/".join(_usual_labels(task))
    if all(index in place for index in range(len(names))):
        return f"but there is none for the label ({usual}): add it"
    option = task.layout.names["label_column"]
    return (
        f"of which none is a label ({usual}): name it with {option}, which is for all files, or rename it in this one"
    )


def _usual_labels(task: Task) -> tuple[str, ...]:
    """What `find_place` takes for a label: where options name columns the task's own names alone, else the usual ones
    after them.
    """
    own, layout = as_named(task.columns, task.layout).label, task.layout
    return own if layout.label or layout.text_a else tuple(dict.fromkeys((*own, *LABELS)))


def _needed(task: Task, names: Sequence[str], with_labels: bool) -> str:
    """What a file of a task has to have, for a message: every name that `find_place` takes; of the label, where it has
    none. names: of its columns, in lower case.
    """
    own, usual_labels = as_named(task.columns, task.layout), _usual_labels(task)
    lacks_label = with_labels and first_of(usual_labels, names) is None

    def listed(texts: Iterable[Sequence[Iterable[str]]], labels: Iterable[str]) -> str:
        told = " or ".join(" with ".join("/".join(names) for names in each) for each in texts)
        return f"{told}, and {'/'.join(labels)}" if lacks_label else told

    texts = own.text_a, own.text_b
    if task.layout.text_a:
        told = listed([texts if task.pair else texts[:1]], usual_labels)
    elif not task.pair:  # the task's own names are among the usual ones
        told = listed([[dict.fromkeys((*own.text_a, *OWN_COLUMNS.text_a, *SINGLES))]], usual_labels)
    else:
        usual = [(OWN_COLUMNS.text_a, OWN_COLUMNS.text_b), *(((first,), (second,)) for first, second in PAIRS)]
        known = [each for each in usual if set(texts[0]) <= set(each[0]) and set(texts[1]) <= set(each[1])]
        others = [each for each in usual if each not in known]
        if task.layout.label or set(own.label) <= set(LABELS):
            told = listed([*(known or [texts]), *others], usual_labels)
        else:
            told = f"{listed([texts], own.label)}, or {listed([*known, *others], LABELS)}"
    which = "a custom task" if task.name == "custom" else task.name
    hint = "rename those of this file, as options name those of all files"
    if with_labels:
        fields = [
            "text_a_column",
            *(["text_b_column"] if task.pair else []),
            *(["label_column"] if lacks_label else []),
        ]
        hint = f"name others with {', '.join(task.layout.names[field] for field in fields)}"
    return f"{which} needs {told} ({hint})"


def _misspelt_of(task: Task, names: Sequence[str], with_labels: bool) -> Hints:
    """Hints where columns that a file of a task needs are nearly called as usual. names: in lower case."""
    own = as_named(task.columns, task.layout)
    usual = {"text_a_column": own.text_a if task.layout.text_a else (*own.text_a, *OWN_COLUMNS.text_a, *SINGLES)}
    if task.pair:
        usual["text_b_column"] = own.text_b if task.layout.text_b else (*own.text_b, *OWN_COLUMNS.text_b)
    if with_labels:
        usual["label_column"] = _usual_labels(task)
    return misspelt(names, usual, task.layout)


def _misnamed(layout: Layout, names: Sequence[str], with_labels: bool, what: str = "column") -> str | None:
    """Which columns that options name are not among `names` (in lower case), for a message; None where all are there.

    A label without a usual name is told, too, so that one run tells all.
    """
    given = {"text_a_column": layout.text_a, "text_b_column": layout.text_b}
    given |= {"label_column": layout.label} if with_labels else {}
    told = []
    for field, name in given.items():
        if name is not None and name.lower() not in names:
            near = {plain(each): each for each in names}
            meant = nearest(plain(name), near)
            hint = f"; did you mean {near[meant]}?" if meant else ""
            told.append(f"no {what} {name} ({layout.names[field]}{hint})")
    if told and with_labels and not layout.label and first_of(LABELS, names) is None:
        told.append(f"no {what} called {'/'.join(LABELS)} ({layout.names['label_column']} names another)")
    return " and ".join(told) or None
