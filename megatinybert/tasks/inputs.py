"""What every stage of a task reads: the task's files, the tokenizer, and the development rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer
from transformers import BertConfig

from megatinybert.config.deepspeed import DeepSpeedSettings, load_ds_config
from megatinybert.config.load import ConfigError, resolve_batch
from megatinybert.config.task import TaskConfig, TaskStudentConfig, in_words_of
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids
from megatinybert.models.configuration import read_bert_config, student_config
from megatinybert.models.initialize import model_folder
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings, refusal
from megatinybert.tasks.read import Skipped, TaskFiles, open_task, read_rows
from megatinybert.tasks.rows import EncodedRows, encode_rows
from megatinybert.tasks.stage_options import SECTIONS, training_of
from megatinybert.tasks.table import Task

SINGLE_LENGTH, PAIR_LENGTH = 64, 128  # of the published runs


@dataclass(frozen=True)
class TaskInputs:
    """Opened and checked. teacher, student: shapes. tokenizer_name: folder or hub name."""

    config: TaskConfig
    files: TaskFiles
    teacher: BertConfig
    student: BertConfig
    tokenizer_name: str
    tokenizer: Tokenizer
    special: SpecialIds
    quiet: bool

    @property
    def task(self) -> Task:
        return self.files.task

    @property
    def max_length(self) -> int:
        return self.config.task.max_length or (PAIR_LENGTH if self.task.pair else SINGLE_LENGTH)

    @property
    def segments(self) -> bool:
        """Whether both models know two."""
        return min(self.teacher.type_vocab_size, self.student.type_vocab_size) > 1

    @property
    def output(self) -> Path:
        return Path(self.config.run.output_dir)

    @cached_property
    def dev(self) -> dict[str, EncodedRows]:
        """The development rows of every split; the first one selects."""
        return {split: self.rows(path, split) for split, path in self.files.dev.items()}

    def rows(self, path: Path, what: str, with_labels: bool = True) -> EncodedRows:
        """The rows of a file, encoded. Raises ValueError, with file and line, for one that cannot be parsed."""
        skipped = Skipped() if self.config.task.skip_bad_rows else None
        rows = read_rows(self.task, path, skipped, with_labels)
        regression = self.task.labels is None
        bar = None if self.quiet else what
        encoded = encode_rows(rows, self.tokenizer, self.special, self.max_length, regression, self.segments, bar)
        if not self.quiet:
            cut = f", {encoded.truncated:,} of them cut to {self.max_length} tokens" if encoded.truncated else ""
            print(f"{what}: {len(encoded):,} rows of {path}{cut}", file=sys.stderr)
            if skipped and skipped.count:
                lines = [f"warning: {skipped.count:,} rows of {path} are left out:", *skipped.messages]
                print("\n  ".join(lines), file=sys.stderr)
        return encoded


def open_inputs(config: TaskConfig, world: World) -> TaskInputs:
    """Open what the task's stages need. Raises ValueError listing everything that is wrong."""
    findings = Findings()
    wanted = config.task
    files = findings.attempt("task", open_task, wanted.name, wanted.data_dir, wanted.labels, wanted.kind)
    teacher = findings.attempt("teacher", read_bert_config, config.teacher.model, "--teacher.model")
    student = findings.attempt("student", student_shape, config.student, teacher) if teacher else None
    name = config.teacher.tokenizer or config.teacher.model
    tokenizer = findings.attempt("tokenizer", load_tokenizer, name) if teacher or config.teacher.tokenizer else None
    special = findings.attempt("tokenizer", special_ids, tokenizer) if tokenizer else None
    for section in SECTIONS.values():
        findings.attempt("batch", settings_of, config, section, world)
    if files and teacher and student and tokenizer and special:
        inputs = TaskInputs(config, files, teacher, student, name, tokenizer, special, not world.is_main)
        findings.attempt("sizes", _check_sizes, inputs)
        if not findings.failed:
            return inputs
    raise ValueError(refusal(findings.texts("fail")))


def settings_of(config: TaskConfig, section: str, world: World) -> DeepSpeedSettings:
    """The DeepSpeed settings of the stage whose options are `section`. Raises ConfigError, in their words."""
    training = training_of(config, section, Path(config.run.output_dir), max_steps=1)
    try:
        resolve_batch(training, world.size)
        return load_ds_config(config.deepspeed, training, world.size)
    except ConfigError as error:
        raise ConfigError(in_words_of(section, str(error))) from error


def student_shape(wanted: TaskStudentConfig, teacher: BertConfig) -> BertConfig:
    """The student's configuration. Where no shape is named it is that of --student.init."""
    name = wanted.config or model_folder(wanted.init)
    return student_config(name, teacher, wanted.hidden_dropout, wanted.attention_dropout)


def _check_sizes(inputs: TaskInputs) -> None:
    problems = []
    models = {"--teacher.model": inputs.teacher, "--student.config": inputs.student}
    for option, shape in models.items():
        if shape.vocab_size < inputs.special.vocab_size:
            problems.append(
                f"the tokenizer {inputs.tokenizer_name} has {inputs.special.vocab_size:,} ids, the model of {option} "
                f"only {shape.vocab_size:,}: name the model's own with --teacher.tokenizer"
            )
        if shape.max_position_embeddings < inputs.max_length:
            problems.append(
                f"--task.max_length {inputs.max_length} is more than the {shape.max_position_embeddings} positions of "
                f"the model of {option}: lower it"
            )
    if problems:
        raise ValueError("\n".join(problems))
