"""The training stages of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import BertModel

from megatinybert.config.task import StageConfig
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import Digest, Teacher, build_student, load_teacher, teacher_dtype
from megatinybert.models.masked_lm import build_mlm_model
from megatinybert.objectives.label_loss import LabelLoss
from megatinybert.objectives.mlm import Mlm
from megatinybert.objectives.prediction import PredictionLoss
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import TrainingData
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from megatinybert.tasks.answering import Answering
from megatinybert.tasks.classifiers import classifier_on, new_classifier
from megatinybert.tasks.development import measure_task, measured_rows, measured_tags, score_tag, some_rows
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.kept_answers import FOLDER, answered
from megatinybert.tasks.model_folder import ModelFolder
from megatinybert.tasks.rows import BucketedRows, EncodedRows
from megatinybert.tasks.stage_options import (
    SECTIONS,
    facts_of_options,
    has_stage_one,
    keeps_answers,
    measuring_interval,
    stage_folder,
    steps_of,
    training_of,
)
from megatinybert.tracking.attention_maps import AttentionPictures, choose_maps, drawing_interval
from megatinybert.training.first_weights import Lesson, give_first_weights, projections_left_aside
from megatinybert.training.held_out import beside_losses, held_out
from megatinybert.training.solve.calibration import ROWS, Calibration
from megatinybert.training.solve.first import SOLVED, solve_first_weights
from megatinybert.training.solve.head import solve_head
from megatinybert.training.solve.record import write_record
from megatinybert.training.solve.student import solve_student
from megatinybert.training.stage import Facts, Stage
from megatinybert.training.trainee import Trainee

_LEARNERS = {"teacher": "teacher", "mlm": "masked-LM", "one": "student", "two": "student"}  # by stage
_ERROR = "error of its logits, as a share of their variance"


def finetuning(inputs: TaskInputs, rows: EncodedRows) -> Stage:
    """Stage "teacher": the teacher with a new head learns the labels."""
    config, task = inputs.config, inputs.task
    model = classifier_on(config.teacher.model, "--teacher.model", inputs.teacher, task, config.run.seed)
    trainee = Trainee(model, LabelLoss(task.labels is None))
    data = BucketedRows(rows, config.finetune.global_batch, config.run.seed)
    return _of_answers("teacher", "teacher", trainee, None, inputs, data, inputs.dev)


def layers(inputs: TaskInputs, teacher_folder: str, rows: EncodedRows, world: World) -> Stage:
    """Stage "one": the student learns the layers of the fine-tuned teacher."""
    config = inputs.config
    student, objective = first_student(inputs, teacher_folder)
    left_aside = projections_left_aside(objective, config.student.init)
    if left_aside:
        world.say(f"warning: {left_aside}")
    trainee = Trainee(student, objective)
    dtype = teacher_dtype(config.teacher.dtype, world.device)
    teacher = load_teacher(teacher_folder, objective.teacher_layers, dtype, world.device)
    some = some_rows(inputs.dev)
    whole = read_bert_config(teacher_folder, "teacher")
    maps = choose_maps(config, student.config, whole, objective.teacher_layers)

    def pictures(interval: int) -> AttentionPictures | None:
        return AttentionPictures(maps, teacher, some, inputs.tokenizer_name, world, interval) if maps else None

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        return held_out(trainees, teacher, some, trainees.only.train_micro_batch_size_per_gpu(), world)

    data = BucketedRows(rows, config.one.global_batch, config.run.seed)

    def solve(world: World) -> None:
        calibration = Calibration(data, config.student.solve_tokens, rows.mean_length, ROWS, world)
        solution = solve_first_weights(trainee, teacher, calibration, config.run.seed, world)
        world.say(f"student: {solution}")
        if world.is_main:
            write_record(inputs.output / "stages" / "one", solution.record)

    return _stage(
        "one",
        "student-one",
        trainee,
        teacher,
        inputs,
        rows,
        data,
        {},
        measure,
        beside_losses(teacher, objective),
        pictures=pictures,
        solve=solve if config.student.init == SOLVED else None,
        about=next(iter(inputs.dev.values())).longer(rows),
    )


def answers(inputs: TaskInputs, teacher: Answering, body: BertModel, rows: EncodedRows) -> Stage:
    """Stage "two": the student learns the answers of the fine-tuned teacher. body: of the student."""
    config, task = inputs.config, inputs.task
    student = new_classifier(inputs.student, task, config.run.seed)
    student.bert.load_state_dict(body.state_dict(), strict=False)  # the pooler is new, as the head is
    depth = teacher.model.config.num_hidden_layers
    two = config.two
    trainee = Trainee(student, PredictionLoss(task.labels is None, two.temperature, two.hard_label_weight, depth))
    data, dev = BucketedRows(rows, two.global_batch, config.run.seed), dict(inputs.dev)
    steps = steps_of(two, len(rows), int(rows.lengths.sum()))

    def solve(world: World) -> None:
        tokens = config.student.solve_tokens
        calibration = Calibration(data, tokens, rows.mean_length, ROWS, world)
        if not has_stage_one(config):
            layer_map = resolve_layer_map(config.objective.layer_map, inputs.student.num_hidden_layers, depth)
            body: Any = teacher.model.base_model
            world.say(f"student: {solve_student(student.bert, body, layer_map, calibration, config.run.seed, world)}")
        student.eval()
        error = solve_head(student, teacher.model, calibration, world)
        measured = "too few rows to measure its error" if math.isnan(error) else f"{_ERROR}: {error:.3f}"
        world.say(f"student: classifier solved; {measured}")

    def prepare(world: World) -> None:
        passes = steps * two.global_batch / len(rows)
        folder = stage_folder(inputs.output, "two") / FOLDER
        kept = answered({"rows": rows, **inputs.dev}, teacher, folder, passes, world)
        data.rows = kept.pop("rows")
        dev.update(kept)
        teacher.is_kept = True

    return _of_answers(
        "two",
        "student",
        trainee,
        teacher,
        inputs,
        data,
        dev,
        solve=solve if config.student.init == SOLVED else None,
        prepare=prepare if keeps_answers(two, len(rows), steps) else None,
    )


def masked_lm(inputs: TaskInputs, rows: EncodedRows) -> Stage:
    """Stage "mlm": a copy of the teacher with a masked-LM head, or that head alone, learns the task's texts."""
    config = inputs.config
    model = build_mlm_model(inputs.teacher, config.teacher.model, config.mlm.train, config.run.seed)
    masking = Masking(inputs.tokenizer, config.run.seed)
    some = MaskedHeldOut(some_rows(inputs.dev), masking)
    data = Masked(BucketedRows(rows, config.mlm.global_batch, config.run.seed), masking)

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        return held_out(trainees, None, some, trainees.only.train_micro_batch_size_per_gpu(), world)

    trainee = Trainee(model, Mlm())
    measured = beside_losses(None, trainee.objective)
    return _stage("mlm", "mlm", trainee, None, inputs, rows, data, {}, measure, measured)


def first_student(inputs: TaskInputs, teacher_folder: str) -> tuple[BertModel, TinyBert]:
    """The student before the first stage, and the objective of stage one."""
    config = inputs.config
    shape = read_bert_config(teacher_folder, "teacher")
    learnt = config.objective
    if not has_stage_one(config):  # which alone compares the heads of the two
        learnt = learnt.model_copy(update={"attention_weight": 0.0})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        objective = TinyBert(learnt, inputs.student, shape)
        student = build_student(inputs.student)
    lesson = Lesson(config.objective, teacher_folder, shape, inputs.max_length)
    give_first_weights(student, objective, config.student.init, lesson)
    return student, objective


def _of_answers(
    name: str,
    product: str,
    trainee: Trainee,
    teacher: Teacher | None,
    inputs: TaskInputs,
    data: BucketedRows,
    dev: Mapping[str, EncodedRows],
    solve: Callable[[World], None] | None = None,
    prepare: Callable[[World], None] | None = None,
) -> Stage:
    """A stage whose student answers, and is selected by its answers to the development rows."""
    task = inputs.task

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        engine = trainees.only
        return measure_task(engine, teacher, task, dev, engine.train_micro_batch_size_per_gpu(), world)

    return _stage(
        name,
        product,
        trainee,
        teacher,
        inputs,
        data.rows,
        data,
        {"development rows": [split.identity for split in dev.values()]},
        measure,
        measured_tags(task, dev),
        best=score_tag(dev),
        solve=solve,
        prepare=prepare,
    )


def _stage(
    name: str,
    product: str,
    trainee: Trainee,
    teacher: Teacher | None,
    inputs: TaskInputs,
    rows: EncodedRows,
    data: TrainingData,
    decides: Facts,
    measure: Callable[[Trainees, World], dict[str, float]],
    tags: Sequence[str],
    best: str | None = None,
    pictures: Callable[[int], AttentionPictures | None] | None = None,
    solve: Callable[[World], None] | None = None,
    prepare: Callable[[World], None] | None = None,
    about: Sequence[str] = (),
) -> Stage:
    """What all stages have in common. product: name of the model folder. pictures: by the interval between them."""
    config, section = inputs.config, SECTIONS[name]
    options: StageConfig = getattr(config, section)
    max_steps = steps_of(options, len(rows), int(rows.lengths.sum()))
    folder = stage_folder(inputs.output, name)
    between = measuring_interval(config, section, max_steps, measured_rows(inputs.dev, best is not None))
    student, first = trainee.student.config, Digest.of(trainee)
    training = training_of(config, section, folder, max_steps, between, student.hidden_size)
    interval = drawing_interval(config.monitor, between, max_steps)
    return Stage(
        name=f"stage {name}",
        config=training,
        settings=inputs.settings[name],
        trainee=trainee,
        teacher=teacher,
        tokenizer=inputs.tokenizer_name,
        data=data,
        length=inputs.max_length,
        max_steps=max_steps,
        decides={
            **decides,
            "rows": rows.identity,
            "first weights": first.fingerprint,
            "first weights checksum": first.checksum,
            "steps": max_steps,
            "student dropout": [student.hidden_dropout_prob, student.attention_probs_dropout_prob],
            **({"steps between measurements": between} if best else {}),
            **facts_of_options(config, name, student.hidden_size),
        },
        measure=measure,
        measured=tags,
        product=ModelFolder(inputs.output / product, folder, inputs.tokenizer_name),
        best=best,
        pictures=pictures(interval) if pictures else None,
        about=[f"stage {name}: {data.samples:,} rows", *about],
        solve=solve,
        prepare=prepare,
        learner=_LEARNERS[name],
    )
