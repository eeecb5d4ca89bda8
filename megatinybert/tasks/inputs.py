"""Inputs of every stage: files, tokenizer, development rows."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from tokenizers import Tokenizer
from transformers import BertConfig

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.task import TaskConfig, TaskStudentConfig
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.corpus.vocabulary import MOST_UNKNOWN, Vocabulary
from megatinybert.models.configuration import read_bert_config, student_config
from megatinybert.models.initialize import model_folder
from megatinybert.models.layer_map import fitting_layers
from megatinybert.models.load import teacher_dtype
from megatinybert.models.shapes import shape_named
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.tasks.augmented import augmented_file
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.formats import WITHOUT_LABEL
from megatinybert.tasks.reading.layout import Layout, layout_of
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.rows import EncodedRows, count_unknown, encode_rows, many_cut, on_cut
from megatinybert.tasks.stage_options import SECTIONS, TAUGHT, length_of_rows, stage_folder, training_of
from megatinybert.tasks.table import Task
from megatinybert.training.checks import check_positions, check_tokenizer
from megatinybert.training.ready import check_machine, check_settings

_SAMPLED_ROWS = 2048  # among which the characters are looked for that are [UNK]
_CUT = "cut rows"  # the warning of them, of one file is enough


@dataclass(frozen=True)
class TaskInputs:
    """Opened and checked. teacher, student: shapes. tokenizer_name: folder or hub name. settings: by stage."""

    config: TaskConfig
    files: TaskFiles
    teacher: BertConfig
    student: BertConfig
    tokenizer_name: str
    tokenizer: Tokenizer
    special: SpecialIds
    vocabulary: Vocabulary
    settings: Mapping[str, DeepSpeedSettings]
    quiet: bool
    told: set[str] = field(default_factory=set)
    told_unknown: list[float] = field(default_factory=list)  # shares of [UNK] that were warned of

    @property
    def task(self) -> Task:
        return self.files.task

    @property
    def max_length(self) -> int:
        return length_of_rows(self.config, self.task.pair)

    @property
    def segments(self) -> bool:
        """Whether both models know two."""
        return min(self.teacher.type_vocab_size, self.student.type_vocab_size) > 1

    @property
    def output(self) -> Path:
        return Path(self.config.run.output_dir)

    @property
    def augmented(self) -> Path:
        """The training rows with their rewritten copies."""
        return augmented_file(self.config)

    @cached_property
    def dev(self) -> dict[str, EncodedRows]:
        """The development rows of every split; the first one selects."""
        return {split: self.rows(path, split, tells=False) for split, path in self.files.dev.items()}

    def rows(self, path: Path, what: str, with_labels: bool = True, tells: bool = True) -> EncodedRows:
        """The rows of a file, encoded. tells: warns of [UNK] in them.

        Raises ValueError, with file and line, for one that cannot be parsed.
        """
        skipped = Skipped() if self.config.task.skip_bad_rows else None
        dropped: Counter[str] = Counter()
        # What is written here is in no other layout than our own.
        task = replace(self.task, layout=Layout()) if path == self.augmented else self.task
        rows = read_rows(task, path, skipped, with_labels, dropped)
        regression = self.task.labels is None
        bar = None if self.quiet else what
        encoded = encode_rows(rows, self.tokenizer, self.special, self.max_length, regression, self.segments, bar)
        if not self.quiet:
            print(
                f"{what}: {counted(len(encoded), 'row')} of {path}{on_cut(encoded, self.max_length)}", file=sys.stderr
            )
            positions = min(self.teacher.max_position_embeddings, self.student.max_position_embeddings)
            # Rows that are only answered are as long as those that the model was trained on.
            cut = many_cut(encoded, self.max_length, positions) if with_labels else ""
            if cut and _CUT not in self.told:
                self.told.add(_CUT)
                print(f"warning: {what}: {cut}", file=sys.stderr)
            if skipped and skipped.count:
                lines = [f"warning: left out of {path}: {counted(skipped.count, 'row')}", *skipped.messages]
                text = "\n  ".join(lines)
                print(lines[0] if text in self.told else text, file=sys.stderr)
                self.told.add(text)
            if dropped:
                names = {label: repr(label) if label else WITHOUT_LABEL for label in dropped}
                counts = ", ".join(f"{names[label]} {count:,}" for label, count in dropped.most_common())
                print(f"{what}: left out by {task.layout.names['drop_labels']}: {counts}", file=sys.stderr)
        if tells:
            self.tell_unknown(what, encoded, path, learnt=with_labels)
        return encoded

    def say_once(self, text: str, world: World) -> None:
        """What several stages find."""
        if text not in self.told:
            self.told.add(text)
            world.say(text)

    def unknown(self, rows: EncodedRows, path: Path, learnt: bool = True) -> tuple[int, int, str | None]:
        """(how many of their tokens are [UNK], of how many, the warning where that is more than MOST_UNKNOWN). path:
        the rows' file. learnt: False of rows that are only answered.
        """
        unknown, tokens = count_unknown(rows, self.special, self.vocabulary.unknown_id)
        characters = self._sample(path, learnt) if unknown > MOST_UNKNOWN * tokens else {}
        return unknown, tokens, self.vocabulary.unknowns(unknown, tokens, characters, learnt)

    def _sample(self, path: Path, with_labels: bool) -> Mapping[str, int]:
        """The characters of a file's first rows, with counts."""
        task = replace(self.task, layout=Layout()) if path == self.augmented else self.task
        rows = islice(read_rows(task, path, Skipped(), with_labels), _SAMPLED_ROWS)
        return Counter("".join(chain.from_iterable((row.text_a, row.text_b or "") for row in rows)))

    def tell_unknown(self, what: str, rows: EncodedRows, path: Path, learnt: bool = True) -> None:
        """Warn of [UNK], once for files that are alike: again where the share is more than twice what was told."""
        unknown, tokens, text = self.unknown(rows, path, learnt)
        share = unknown / max(tokens, 1)
        if text and share > 2 * max(self.told_unknown, default=0.0):
            self.told_unknown.append(share)
            if not self.quiet:
                print(f"warning: {what}: {text}", file=sys.stderr)


def open_inputs(
    config: TaskConfig, world: World, findings: Findings, compares_layers: bool = False, trains: bool = True
) -> TaskInputs | None:
    """Open what the task's stages need. What is found is added to `findings`; None where some of it is a failure.

    compares_layers: whether layers and heads of the two models have to fit each other. trains: whether warnings of what
    training alone can heed are wanted. Every rank calls it.
    """
    check_machine(Path(config.run.output_dir), world, findings)
    wanted = config.task
    layout = layout_of(wanted)
    files = findings.attempt("task", open_task, wanted.name, wanted.data_dir, wanted.labels, wanted.kind, layout)
    teacher = findings.attempt("teacher", read_bert_config, config.teacher.model, "--teacher.model")
    student = findings.attempt("student", student_shape, config.student, teacher) if teacher else None
    if teacher and student and compares_layers:
        findings.attempt("student", fitting_layers, config.objective, student, teacher)
    name = config.teacher.tokenizer or config.teacher.model
    tokenizer = findings.attempt("tokenizer", load_tokenizer, name) if teacher or config.teacher.tokenizer else None
    special = findings.attempt("tokenizer", special_ids, tokenizer) if tokenizer else None
    vocabulary = Vocabulary(tokenizer, name) if tokenizer else None
    of_training = Findings()
    if vocabulary and vocabulary.capitals:
        of_training.add(Finding("warn", "tokenizer", vocabulary.capitals))
    dtype = teacher_dtype(config.teacher.dtype, world.device)
    settings = {}
    for stage, section in SECTIONS.items():
        training = training_of(config, section, stage_folder(Path(config.run.output_dir), stage), max_steps=1)
        found = check_settings(training, dtype if section in TAUGHT else None, "none", world, of_training)
        if found:
            settings[stage] = found
    findings.add(*(found for found in of_training.all if trains or found.level != "warn"))
    if not (files and teacher and student and tokenizer and special and vocabulary):
        return None
    inputs = TaskInputs(
        config, files, teacher, student, name, tokenizer, special, vocabulary, settings, not world.is_main
    )
    shape, option = shape_named(config.student.config, config.student.init)
    models = {f"--teacher.model {config.teacher.model}": teacher, f"{option} {shape}": student}
    fingerprint = tokenizer_fingerprint(tokenizer)
    findings.add(*(check_tokenizer(name, special, fingerprint, option, shape) for option, shape in models.items()))
    findings.add(*check_positions("--task.max_length", inputs.max_length, models))
    return None if findings.failed else inputs


def student_shape(wanted: TaskStudentConfig, teacher: BertConfig) -> BertConfig:
    """The student's configuration. Where no shape is named it is that of --student.init."""
    if not wanted.config:
        model_folder(wanted.init)  # refuses a run that has left no model yet
    name, option = shape_named(wanted.config, wanted.init)
    return student_config(name, teacher, wanted.hidden_dropout, wanted.attention_dropout, option)
