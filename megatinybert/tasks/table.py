"""The tasks: classes, metrics, files, columns; one entry of `TASKS` each.

The files are GLUE's as its authors distribute them (Wang et al. 2019); a submission goes to their server.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

from megatinybert.config.rows import compact
from megatinybert.tasks.reading.layout import Layout


@dataclass(frozen=True)
class Columns:
    """The names that each column of a task may have; the first that is there counts. text_b: () for single texts."""

    text_a: tuple[str, ...]
    text_b: tuple[str, ...]
    label: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """What a task is.

    name: as `--task.name` takes it. labels: names of the classes in the order of the outputs; None for a regression.
    metrics: keys of `metrics.METRICS`; their mean selects checkpoints. pair: rows have a second text.
    train, dev, test: file names; of several dev files the first selects. other_names: how the data is called
    elsewhere, by official name; used where the official training file is not there, and then for all files.
    columns: of .tsv files. header: the column names of files that have no header line.
    values: how files and submissions write the classes, where not by name.
    submission: file names by test split. scale: the least and the greatest score of a regression.
    layout: how its files are read, as options say.
    """

    name: str
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...]
    pair: bool
    columns: Columns
    train: str = "train.tsv"
    dev: dict[str, str] = field(default_factory=lambda: {"dev": "dev.tsv"})
    test: dict[str, str] = field(default_factory=lambda: {"test": "test.tsv"})
    other_names: dict[str, str] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    submission: dict[str, str] = field(default_factory=dict)
    scale: tuple[float, float] | None = None
    layout: Layout = field(default_factory=Layout)

    @property
    def classes(self) -> int:
        """The outputs of a head: one for each class, 1 for a regression."""
        return 1 if self.labels is None else len(self.labels)


# Of files that are not a task's official ones.
OWN_COLUMNS = Columns(("text_a", "text", "sentence", "sentence1"), ("text_b", "sentence2"), ("label", "score"))

_SINGLE = Columns(("sentence",), (), ("label",))
_PAIR = Columns(("sentence1",), ("sentence2",), ("label",))
_ENTAILMENT = ("entailment", "not_entailment")

_ALL = (
    Task(
        "cola",
        ("unacceptable", "acceptable"),
        ("matthews",),
        pair=False,
        columns=_SINGLE,
        header=("source", "label", "mark", "sentence"),
        values=("0", "1"),
        submission={"test": "CoLA.tsv"},
    ),
    Task(
        "sst-2",
        ("negative", "positive"),
        ("accuracy",),
        pair=False,
        columns=_SINGLE,
        values=("0", "1"),
        submission={"test": "SST-2.tsv"},
    ),
    Task(
        "mrpc",
        ("not_equivalent", "equivalent"),
        ("accuracy", "f1"),
        pair=True,
        columns=Columns(("#1 String",), ("#2 String",), ("Quality",)),
        other_names={"train.tsv": "msr_paraphrase_train.txt", "dev.tsv": "msr_paraphrase_test.txt"},
        values=("0", "1"),
        submission={"test": "MRPC.tsv"},
    ),
    Task(
        "sts-b",
        None,
        ("pearson", "spearman"),
        pair=True,
        columns=Columns(("sentence1",), ("sentence2",), ("score",)),
        submission={"test": "STS-B.tsv"},
        scale=(0.0, 5.0),
    ),
    Task(
        "qqp",
        ("not_duplicate", "duplicate"),
        ("accuracy", "f1"),
        pair=True,
        columns=Columns(("question1",), ("question2",), ("is_duplicate",)),
        values=("0", "1"),
        submission={"test": "QQP.tsv"},
    ),
    Task(
        "mnli",
        ("contradiction", "entailment", "neutral"),
        ("accuracy",),
        pair=True,
        columns=Columns(("sentence1",), ("sentence2",), ("gold_label",)),
        dev={"dev_matched": "dev_matched.tsv", "dev_mismatched": "dev_mismatched.tsv"},
        test={
            "test_matched": "test_matched.tsv",
            "test_mismatched": "test_mismatched.tsv",
            "diagnostic": "diagnostic.tsv",  # GLUE's AX, which a model of this task answers
        },
        submission={"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv", "diagnostic": "AX.tsv"},
    ),
    Task(
        "qnli",
        _ENTAILMENT,
        ("accuracy",),
        pair=True,
        columns=Columns(("question",), ("sentence",), ("label",)),
        submission={"test": "QNLI.tsv"},
    ),
    Task("rte", _ENTAILMENT, ("accuracy",), pair=True, columns=_PAIR, submission={"test": "RTE.tsv"}),
    Task(
        "wnli",
        ("not_entailment", "entailment"),
        ("accuracy",),
        pair=True,
        columns=_PAIR,
        values=("0", "1"),
        submission={"test": "WNLI.tsv"},
    ),
    # Classes, metrics and pairs are those of the data: see `read.open_task`.
    Task(
        "custom",
        None,
        (),
        pair=False,
        columns=OWN_COLUMNS,
        train="train.txt",
        dev={"dev": "eval.txt"},
        test={"test": "test.txt"},
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def find_task(name: str, option: str = "--task.name") -> Task:
    """The task of that name; case, "-", "_" and spaces do not matter. option: that gives the name.

    Raises ValueError, naming the nearest one.
    """
    known = {compact(task): task for task in TASKS}
    key = compact(name)
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"Did you mean {known[near[0]]}? " if near else ""
        raise ValueError(f"{option} {name}: no such task. {hint}There are {', '.join(TASKS)}")
    return TASKS[known[key]]
