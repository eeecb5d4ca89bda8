"""A task's files: which there are, and what columns they have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from megatinybert.config.missing import missing_data_dir
from megatinybert.config.rows import compact
from megatinybert.config.schema import ConfigError
from megatinybert.corpus.other_kinds import ways_of_rows
from megatinybert.runtime.counts import some_of
from megatinybert.runtime.findings import Findings, once_of_files
from megatinybert.tasks.reading.columns import usual_columns
from megatinybert.tasks.reading.formats import SUFFIXES, columns_of, row_for_header
from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.separators import parted_by_another
from megatinybert.tasks.reading.wrong_columns import no_text, of_other_task
from megatinybert.tasks.table import Task, find_task

_SHOWN_NAMES = 10
_CUSTOM_NAMES = {"train": ("train",), "dev": ("eval", "dev"), "test": ("test",)}


@dataclass(frozen=True)
class TaskFiles:
    """A task with its files.

    task: of a custom one, with classes, pairs and metrics as the data has them. dev: in the task's order, at least one.
    test: those that are there.
    """

    task: Task
    train: Path
    dev: dict[str, Path]
    test: dict[str, Path]


def find_files(name: str, data_dir: str, layout: Layout | None = None) -> TaskFiles:
    """The files of a task. Of a custom one columns and pairs are known, classes and metrics not yet (`open_task`).

    layout: how the files are read; it becomes the task's, and says what these options are called. Raises ValueError
    where a file or a column is missing or ambiguous.
    """
    layout = layout or Layout()
    task = find_task(name, layout.names["task"])
    task = task if layout == task.layout else replace(task, layout=layout)
    folder = Path(data_dir)
    option = layout.names["data_dir"]
    if problem := missing_data_dir(option, folder):
        raise ValueError(problem)
    return (_custom_files if task.name == "custom" else _official_files)(task, folder, option)


def _official_files(task: Task, folder: Path, option: str) -> TaskFiles:
    other = task.other_names.get(task.train)
    # All files of one set: the training file of another set may hold rows of this one's dev file.
    names = task.other_names if other and not (folder / task.train).exists() and (folder / other).exists() else None

    def path(name: str) -> Path:
        return folder / (names.get(name, name) if names else name)

    train, dev = path(task.train), {split: path(name) for split, name in task.dev.items()}
    missing = [file.name for file in (train, *dev.values()) if not file.is_file()]
    if missing:
        inside = [sub for sub in sorted(folder.iterdir()) if compact(sub.name) == compact(task.name) and sub.is_dir()]
        hint = f": did you mean {option} {inside[0]}?" if inside else _there(folder) + _otherwise(task, folder)
        raise ValueError(f"{option} {folder}: no {' and no '.join(missing)}, which {task.name} needs{hint}")
    test = {split: folder / name for split, name in task.test.items() if not names and (folder / name).is_file()}
    return TaskFiles(_with_files(task, train, *dev.values(), *test.values()), train, dev, test)


def _custom_files(task: Task, folder: Path, option: str) -> TaskFiles:
    train, dev, test = (_custom_file(folder, split, option) for split in ("train", "dev", "test"))
    if train is None or dev is None:
        lacking = [name for name, path in (("train", train), ("eval", dev)) if path is None]
        ways = _of_several_parts(folder) or _of_other_names(folder, lacking, train) or _of_other_kinds(folder)
        raise ValueError(
            f"{option} {folder}: no {' and no '.join(lacking)} file, which a custom task needs "
            f"(as {', '.join(SUFFIXES)}){_there(folder)}{ways or _of_where_rows_are(folder, train, option)}"
        )
    others = [dev, *([test] if test else [])]
    task = _with_files(task, train, *others)
    try:
        task = _with_columns(task, train, dev)
    except ValueError as error:
        told = getattr(error, "problems", [str(error)])
        raise ConfigError.of(once_of_files([*told, *_unreadable(task, others)], [train, *others])) from error
    return TaskFiles(task, train, {"dev": dev}, {"test": test} if test else {})


def _custom_file(folder: Path, split: str, option: str) -> Path | None:
    found = _of_split(folder, split)
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ValueError(f"{option} {folder}: found {names}: keep the one that is meant and rename the others")
    return found[0] if found else None


def _of_split(folder: Path, split: str) -> list[Path]:
    """The files that have a name of a custom task's `split`."""
    paths = (folder / (stem + suffix) for stem in _CUSTOM_NAMES[split] for suffix in SUFFIXES)
    return [path for path in paths if path.is_file()]


def _with_files(task: Task, *files: Path) -> Task:
    return replace(task, layout=replace(task.layout, files=files))


def _with_columns(task: Task, train: Path, dev: Path) -> Task:
    """A custom task with the columns and the kind of rows, single texts or pairs, that its training file has.

    Where that has no known text, what is wrong with the other file's columns is told as well.
    """
    others = [] if task.layout.columns else [dev]
    if others and parted_by_another(train, task.layout):
        raise _textless((train, dev), task.layout)
    names = columns_of(train, task.layout)
    if train.suffix == ".txt" and not task.layout.columns:
        if task.layout.text_a or task.layout.label:
            raise ValueError(
                f"{train}: its columns have no names: name all of them, in order, with {task.layout.names['columns']}"
            )
        return replace(task, pair="text_b" in names)
    if not names:  # nothing in it can be read, which is told by who reads its labels
        return task
    found = usual_columns(names, True, task.layout, str(train))
    if found is None:
        raise _textless((train, *others), task.layout)
    return replace(task, columns=found, pair=bool(found.text_b))


def _unreadable(task: Task, paths: Sequence[Path]) -> list[str]:
    """What is wrong with the encoding or the line ends of files."""
    findings = Findings()
    for path in paths:
        findings.attempt("task", columns_of, path, task.layout)
    return findings.texts("fail")


def _textless(paths: Sequence[Path], layout: Layout) -> ConfigError:
    """That these files, or some of them, have no column that is known as a text."""
    return ConfigError.of([text for path in paths if (text := _without_text(path, layout))])


def _without_text(path: Path, layout: Layout) -> str:
    """What is wrong with a file of which no column is known as a text; "" where one is."""
    try:
        if not layout.columns and (another := parted_by_another(path, layout)):
            return f"{path}: {another}"
        names = columns_of(path, layout)
        if not names or usual_columns(names, True, layout, str(path)):
            return ""
    except ValueError as error:
        return str(error)
    if row := row_for_header(path, layout):
        return f"{path}: {row}"
    return no_text(names, layout, str(path))


def _of_several_parts(folder: Path) -> str:
    """A hint where the training file is one of several, as OCNLI's train.50k.json."""
    named = sorted(path.name for path in folder.glob("train.*.json*"))
    return f". If {named[-1]} is meant, copy it to train{Path(named[-1]).suffix}" if named else ""


def _of_other_names(folder: Path, lacking: Sequence[str], train: Path | None) -> str:
    """A hint where there are as many files of rows, but of other names, or one for two."""
    known = [name for names in _CUSTOM_NAMES.values() for name in names]
    taken = [stem + suffix for stem in known for suffix in SUFFIXES]
    paths = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name not in taken)
    files = sorted(path for path in paths if path.is_file())
    if len(lacking) == 2 and len(files) == 1:
        rows, suffix = files[0].name, files[0].suffix.lower()
        how = f"part them, at random, into train{suffix} and eval{suffix} (docs/task-data.md, Files, says how)"
        return f". If {rows} has all rows, {how}"
    if len(files) < len(lacking):
        return ""
    names = " and ".join(name + files[0].suffix.lower() for name in lacking)
    alone = f"; where all rows are in {train.name}, take a part of these out, at random, for it" if train else ""
    return f". Rename the right {'file' if len(lacking) == 1 else 'files'} to {names}{alone}"


def _of_where_rows_are(folder: Path, train: Path | None, option: str) -> str:
    """A hint where a folder within has the files, or where all rows are in one file."""
    if train:
        return f". Where all rows are in {train.name}, take a part of these out, at random, for it"
    within = (each for each in sorted(folder.iterdir()) if each.is_dir())
    meant = next((each for each in within if all(_of_split(each, split) for split in ("train", "dev"))), None)
    return f": did you mean {option} {meant}?" if meant else ""


def _otherwise(task: Task, folder: Path) -> str:
    """A hint where the rows are another task's, or are in files that a custom task may have, and GLUE's have not, or in
    none that is read.
    """
    train = folder / task.train
    with suppress(ValueError, OSError):
        if meant := of_other_task(task, train, columns_of(train, task.layout)):
            return f". In {train.name}, {meant}"
    both = [_of_split(folder, split) for split in ("train", "dev")]
    return (
        f". {task.layout.names['task']} custom reads files with these names" if all(both) else _of_other_kinds(folder)
    )


def _of_other_kinds(folder: Path) -> str:
    """A hint where there are spreadsheets, say."""
    ways = ways_of_rows(sorted(path.name for path in folder.iterdir()))
    return f". {ways}" if ways else ""


def _there(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return f"; the folder has {some_of(names, _SHOWN_NAMES)}" if names else "; the folder is empty"
