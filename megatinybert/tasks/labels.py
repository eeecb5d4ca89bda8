"""Which model output means which class."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from megatinybert.runtime.counts import counted

_GENERIC = re.compile(r"label_?\d+")
_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_-]+(?=[^\W_])")  # within a name: the sign of -1 says something


def label_order(
    task_labels: Sequence[str], id2label: Mapping[int, str], source: str, option: str = "--teacher.labels"
) -> list[int]:
    """For each class of a task, the output of a model that means it, by name.

    Case does not matter, nor do spaces, "_" and "-" within a name, unless two names differ in nothing else.
    id2label: the name of each output, as in a config.json. source: whose they are, option: what would name
    them in order, for messages.

    Raises ValueError where the names are not those of the task, one for each.
    """
    outputs = {int(index): name for index, name in id2label.items()}
    spelling = _spelling(task_labels, list(outputs.values()))
    by_name = {spelling(name): index for index, name in sorted(outputs.items())}
    wanted = [spelling(name) for name in task_labels]
    if sorted(wanted) == sorted(map(spelling, outputs.values())):
        return [by_name[name] for name in wanted]
    names = " ".join(outputs[index] for index in sorted(outputs))
    remedy = "name the model's outputs in their order"
    example = f"{option} {shlex.join(task_labels)}"
    if len(outputs) != len(task_labels):
        raise ValueError(
            f"{source}: a model of {counted(len(outputs), 'class', 'classes')} ({names}) for a task of "
            f"{len(task_labels)} ({' '.join(task_labels)}): choose a model of this task"
        )
    if all(_GENERIC.fullmatch(name.lower()) for name in outputs.values()):
        raise ValueError(
            f"{source}: the outputs are called {names}, which does not say which of them means which of "
            f"{', '.join(task_labels)}: {remedy}, for example {example}"
        )
    raise ValueError(
        f"{source}: the outputs are called {names}, but the classes of the task are {' '.join(task_labels)}: if the "
        f"model is for this task, {remedy}, for example {example}"
    )


def _spelling(*lists: Sequence[str]) -> Callable[[str], str]:
    """What makes names comparable: the loosest way that keeps the names of each list apart."""
    for spelling in (_loose, str.casefold):
        if all(len(set(map(spelling, names))) == len(names) for names in lists):
            return spelling
    return str


def _loose(name: str) -> str:
    return _SEPARATORS.sub("", name.strip().casefold())
