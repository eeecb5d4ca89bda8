"""The training stages of a task, each put together from its models, rows and objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from transformers import BertModel

from megatinybert.config.task import StageConfig
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher, build_student, load_teacher, teacher_dtype
from megatinybert.models.masked_lm import build_mlm_model
from megatinybert.objectives.labels import LabelLoss
from megatinybert.objectives.mlm import Mlm
from megatinybert.objectives.prediction import PredictionLoss
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.dist import World
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from megatinybert.tasks.classifiers import classifier_on, new_classifier
from megatinybert.tasks.development import measure_task, measured_tags, score_tag
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.rows import BucketedRows, EncodedRows
from megatinybert.tasks.stage import Stage
from megatinybert.tasks.stage_options import SECTIONS
from megatinybert.tracking.attention_maps import AttentionPictures, choose_maps
from megatinybert.training.first_weights import Lesson, give_first_weights
from megatinybert.training.held_out import PROBE, beside_losses, held_out
from megatinybert.training.trainee import Trainee

_HELD_OUT_ROWS = 256  # of the losses of layers


def finetuning(inputs: TaskInputs, rows: EncodedRows, world: World) -> Stage:
    """Stage "teacher": the teacher with a new head learns the labels."""
    config, task = inputs.config, inputs.task
    model = classifier_on(config.teacher.model, "--teacher.model", inputs.teacher, task, config.run.seed)
    trainee = Trainee(model, LabelLoss(task.labels is None))
    return _of_answers("teacher", inputs.output / "teacher", trainee, None, inputs, rows, world)


def layers(inputs: TaskInputs, teacher_folder: str, rows: EncodedRows, world: World) -> Stage:
    """Stage "one": the student learns the layers of the fine-tuned teacher."""
    config = inputs.config
    student, objective = first_student(inputs, teacher_folder)
    trainee = Trainee(student, objective)
    dtype = teacher_dtype(config.teacher.dtype, world.device)
    teacher = load_teacher(teacher_folder, objective.teacher_layers, dtype, world.device)
    some = _First(next(iter(inputs.dev.values())), _HELD_OUT_ROWS)

    def measure(engine: DeepSpeedEngine) -> dict[str, float]:
        return held_out({"student": engine}, teacher, some, engine.train_micro_batch_size_per_gpu(), world)

    maps = choose_maps(config, student.config, read_bert_config(teacher_folder, "teacher"), objective.teacher_layers)

    def pictures(interval: int) -> AttentionPictures | None:
        return AttentionPictures(maps, teacher, some, inputs.tokenizer_name, world, interval) if maps else None

    return Stage(
        "one",
        inputs.output / "student-one",
        trainee,
        teacher,
        rows,
        BucketedRows(rows, config.one.global_batch, config.run.seed),
        {"objective": config.objective.model_dump(mode="json")},
        measure,
        [PROBE],
        pictures=pictures,
    )


def answers(inputs: TaskInputs, teacher: Teacher, body: BertModel, rows: EncodedRows, world: World) -> Stage:
    """Stage "two": the student learns the answers of the fine-tuned teacher. body: of the student."""
    config, task = inputs.config, inputs.task
    student = new_classifier(inputs.student, task, config.run.seed)
    student.bert.load_state_dict(body.state_dict(), strict=False)  # the pooler is new, as the head is
    depth = teacher.model.config.num_hidden_layers
    two = config.two
    trainee = Trainee(student, PredictionLoss(task.labels is None, two.temperature, two.hard_label_weight, depth))
    return _of_answers("two", inputs.output / "student", trainee, teacher, inputs, rows, world)


def masked_lm(inputs: TaskInputs, rows: EncodedRows, world: World) -> Stage:
    """Stage "mlm": a copy of the teacher with a masked-LM head, or that head alone, learns the task's texts."""
    config = inputs.config
    model = build_mlm_model(inputs.teacher, config.teacher.model, config.mlm.train, config.run.seed)
    masking = Masking(inputs.tokenizer, config.run.seed)
    some = MaskedHeldOut(_First(next(iter(inputs.dev.values())), _HELD_OUT_ROWS), masking)
    data = Masked(BucketedRows(rows, config.mlm.global_batch, config.run.seed), masking)

    def measure(engine: DeepSpeedEngine) -> dict[str, float]:
        return held_out({"student": engine}, None, some, engine.train_micro_batch_size_per_gpu(), world)

    product, trainee = inputs.output / "mlm", Trainee(model, Mlm())
    return Stage("mlm", product, trainee, None, rows, data, {}, measure, beside_losses(None))


def first_student(inputs: TaskInputs, teacher_folder: str) -> tuple[BertModel, TinyBert]:
    """The student before the first stage, and the objective of stage one."""
    config = inputs.config
    shape = read_bert_config(teacher_folder, "teacher")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        objective = TinyBert(config.objective, inputs.student, shape)
        student = build_student(inputs.student)
    lesson = Lesson(config.objective, teacher_folder, shape, inputs.max_length)
    give_first_weights(student, objective, config.student.init, lesson)
    return student, objective


def _of_answers(
    name: str,
    product: Path,
    trainee: Trainee,
    teacher: Teacher | None,
    inputs: TaskInputs,
    rows: EncodedRows,
    world: World,
) -> Stage:
    """A stage whose student answers, and is selected by its answers to the development rows."""
    config, task, dev = inputs.config, inputs.task, inputs.dev
    options: StageConfig = getattr(config, SECTIONS[name])

    def measure(engine: DeepSpeedEngine) -> dict[str, float]:
        return measure_task(engine, teacher, task, dev, engine.train_micro_batch_size_per_gpu(), world)

    return Stage(
        name,
        product,
        trainee,
        teacher,
        rows,
        BucketedRows(rows, options.global_batch, config.run.seed),
        {"development rows": [split.identity for split in dev.values()]},
        measure,
        measured_tags(task, dev),
        best=score_tag(dev),
    )


class _First:
    """The first rows of some."""

    def __init__(self, rows: EncodedRows, count: int) -> None:
        self._rows, self._count = rows, min(count, len(rows))

    def __len__(self) -> int:
        return self._count

    def batch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return self._rows.batch(rows)
