"""The actions of launch/task.sh, each skipped if already done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from transformers import BertModel

from megatinybert.config.augment import AugmentOptions
from megatinybert.config.flat import OptionNames
from megatinybert.config.task import AugmentConfig, PredictConfig, TaskConfig
from megatinybert.models.initialize import SHAPE
from megatinybert.models.load import fingerprint_of, load_encoder, teacher_dtype
from megatinybert.models.masked_lm import has_mlm_head
from megatinybert.models.published import has_classifier
from megatinybert.programs.evaluate import evaluate, predict
from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.findings import Findings
from megatinybert.tasks.augment.run import AugmentReport, augment, check_made_by
from megatinybert.tasks.classifiers import as_teacher, load_fine_tuned
from megatinybert.tasks.development import SCORE
from megatinybert.tasks.inputs import TaskInputs, open_inputs
from megatinybert.tasks.metrics import compute_metrics
from megatinybert.tasks.predict import logits_of
from megatinybert.tasks.read import TASK_NAMES
from megatinybert.tasks.stages import answers, finetuning, first_student, has_stage_one, layers, masked_lm
from megatinybert.training.lock import run_lock
from megatinybert.training.record import write_config
from megatinybert.training.run import run_stage
from megatinybert.training.stage import Stage


def run_task(asked: tuple[str, TaskConfig], world: World) -> None:
    """Do what is asked: an action, one of `task_schema.ACTIONS`, by a configuration. Every rank calls it.

    Raises ValueError for what the user can put right, before it costs time where that can be seen;
    `finite.NonFiniteLoss` and `stop.Stopped`.
    """
    action, config = asked
    findings = Findings()
    inputs = open_inputs(config, world, findings)
    world.refuse(findings.texts("fail"))
    assert inputs  # without failures there are inputs
    check_shared(inputs.output, world)
    for warning in findings.warnings:
        world.say(warning)
    if world.is_main:
        recipe = config.model_copy(update={"predict": PredictConfig()})  # which no later action should find in it
        write_config(inputs.output, recipe, inputs.settings["two"], None, world)
    reads = action in ("eval", "predict")  # beside a run in training
    with contextlib.nullcontext() if reads else run_lock(inputs.output, world):
        for part in _ALL if action == "all" else [action]:
            _ACTIONS[part](inputs, world)


def _train(world: World, describe: Callable[[], Stage]) -> None:
    """Open a stage on every rank, then train it."""
    run_stage(world.together(describe), Findings(), world)


def _teacher(inputs: TaskInputs, world: World) -> None:
    name = inputs.config.teacher.model
    _check_rows_differ(inputs, world)
    if world.together(lambda: has_classifier(name)):
        world.say(f"teacher: {name} is fine-tuned already")
    else:
        _train(world, lambda: finetuning(inputs, inputs.rows(inputs.files.train, "training rows")))
    _check_teacher(inputs, world)


def _augment(inputs: TaskInputs, world: World) -> None:
    config = inputs.config
    wanted, name = config.augment, config.augment.model or config.teacher.model
    if wanted.copies == 0:
        world.say("augment: left out (--augment.copies 0)")
        return
    if wanted.model is None and not world.together(lambda: has_mlm_head(name)):
        _train(world, lambda: masked_lm(inputs, inputs.rows(inputs.files.train, "rows of the masked-LM")))
        name = str(inputs.output / "mlm")
    options = _augment_options(inputs, name)
    options.output.parent.mkdir(parents=True, exist_ok=True)

    def rewrite() -> AugmentReport:
        try:
            return augment(options)
        except RuntimeError as error:  # a worker was killed
            raise ChildProcessError(str(error)) from error

    report = world.first(rewrite)
    done = "done already" if report.was_whole else f"{report.seconds:,.0f} s"
    world.say(f"augment: {report.totals.rows_out:,} rows out of {report.totals.rows:,} ({done})")


def _one(inputs: TaskInputs, world: World) -> None:
    if not has_stage_one(inputs.config):
        world.say("stage one: left out (--one.epochs 0)")
        return
    teacher = world.together(lambda: _fine_tuned_teacher(inputs))
    _check_teacher(inputs, world)
    file = _training_file(inputs, world)
    _train(world, lambda: layers(inputs, teacher, inputs.rows(file, "training rows"), world))


def _two(inputs: TaskInputs, world: World) -> None:
    config, name = inputs.config, world.together(lambda: _fine_tuned_teacher(inputs))
    _check_teacher(inputs, world)
    file = _training_file(inputs, world)

    def describe() -> Stage:
        model = load_fine_tuned(name, "teacher", inputs.task, config.teacher.labels)
        teacher = as_teacher(model, teacher_dtype(config.teacher.dtype, world.device), world.device)
        body = first_student(inputs, name)[0] if not has_stage_one(config) else _student_of_one(inputs)
        return answers(inputs, teacher, body, inputs.rows(file, "training rows"))

    _train(world, describe)


def _eval(inputs: TaskInputs, world: World) -> None:
    teacher = world.together(lambda: _fine_tuned_teacher(inputs))
    world.first(lambda: evaluate(inputs, teacher, _student(inputs), world.device))


def _predict(inputs: TaskInputs, world: World) -> None:
    world.first(lambda: predict(inputs, _student(inputs), world.device))


_ACTIONS: dict[str, Callable[[TaskInputs, World], None]] = {
    "teacher": _teacher,
    "augment": _augment,
    "one": _one,
    "two": _two,
    "eval": _eval,
    "predict": _predict,
}
_ALL = ("teacher", "augment", "one", "two", "eval")


def _fine_tuned_teacher(inputs: TaskInputs) -> str:
    """Its folder or hub name."""
    name, own = inputs.config.teacher.model, inputs.output / "teacher"
    if has_classifier(name):
        return name
    if not own.is_dir():
        raise ValueError(
            f"{own} is not there yet, and --teacher.model {name} is not fine-tuned: run stage teacher first"
        )
    return str(own)


def _student_of_one(inputs: TaskInputs) -> BertModel:
    folder = inputs.output / "student-one"
    if not folder.is_dir():
        raise ValueError(f"{folder} is not there yet: run stage one first, or leave it out with --one.epochs 0")
    body = load_encoder(str(folder), "the student of stage one")
    there, now = ({key: getattr(shape, key) for key in SHAPE} for shape in (body.config, inputs.student))
    remedy = f"give --student.config as for stage one, or remove {folder} and run that stage again"
    refuse_differences(f"{folder} is of another shape than the student is to have", there, now, remedy)
    return body


def _student(inputs: TaskInputs) -> str:
    folder = inputs.config.predict.model or str(inputs.output / "student")
    if not inputs.config.predict.model and not Path(folder).is_dir():
        raise ValueError(f"{folder} is not there yet: run stage two first, or name a model with --predict.model")
    return folder


def _augmented(inputs: TaskInputs) -> Path:
    return inputs.output / "augmented" / "train.jsonl"


# What a task calls the options of data_prep/augment.py. It has none for some of them.
_AUGMENT_NAMES = OptionNames(
    {field: f"--augment.{field}" for field in AugmentConfig.model_fields}
    | TASK_NAMES
    | {"tokenizer": "--teacher.tokenizer", "output": "--run.output_dir", "seed": "--run.seed"}
    | {field: f"--{field} of data_prep/augment.py" for field in ("workers", "device", "resume")}
)


def _augment_options(inputs: TaskInputs, model: str) -> AugmentOptions:
    config, wanted = inputs.config, inputs.config.augment
    return AugmentOptions(
        task=inputs.task.name,
        data_dir=config.task.data_dir,
        model=model,
        output=_augmented(inputs),
        tokenizer=config.teacher.tokenizer if model == config.teacher.model else None,
        labels=config.task.labels,
        kind=config.task.kind,
        copies=None if wanted.copies == "published" else wanted.copies,
        probability=wanted.probability,
        candidates=wanted.candidates,
        vectors=Path(wanted.vectors) if wanted.vectors else None,
        segmenter=wanted.segmenter,
        rows=wanted.rows,
        seed=config.run.seed,
        skip_bad_rows=config.task.skip_bad_rows,
        resume=True,
        names=_AUGMENT_NAMES,
    )


def _training_file(inputs: TaskInputs, world: World) -> Path:
    """What the student trains on. Raises ValueError where it is not there, or made otherwise. Every rank calls it."""
    if inputs.config.augment.copies == 0:
        return inputs.files.train

    options = _augment_options(inputs, inputs.config.augment.model or inputs.config.teacher.model)

    def check() -> None:
        if not _augmented(inputs).is_file():
            raise ValueError(
                f"{_augmented(inputs)} is not there yet: run augment first, or train without it by --augment.copies 0"
            )
        check_made_by(options)

    world.first(check)
    return _augmented(inputs)


def _check_rows_differ(inputs: TaskInputs, world: World) -> None:
    """Raise ValueError for development rows that are all alike: no answer to them says which model is better."""
    split, rows = next(iter(world.together(lambda: inputs.dev).items()))
    if (rows.gold != rows.gold[0]).any():
        return
    text = (
        f"all {len(rows):,} rows of {split} ({inputs.files.dev[split]}) have the same label, so no measurement on them "
        "says which weights are better: shuffle the rows before you divide them"
    )
    _refuse(text, inputs, world)


def _refuse(text: str, inputs: TaskInputs, world: World) -> None:
    """Raise ValueError, or with --task.force warn and continue."""
    if not inputs.config.task.force:
        raise ValueError(f"{text}; --task.force true continues anyway")
    world.say(f"warning: {text}")


def _check_teacher(inputs: TaskInputs, world: World) -> None:
    """Raise ValueError for a teacher that is no better on the development rows than one answer to them all."""
    split, rows = next(iter(world.together(lambda: inputs.dev).items()))
    name, task = world.together(lambda: _fine_tuned_teacher(inputs)), inputs.task

    def score() -> float | None:
        model = load_fine_tuned(name, "teacher", task, inputs.config.teacher.labels)
        known = inputs.output / "teacher.json"
        asked = {"teacher": fingerprint_of(model), "rows": rows.identity}
        if known.is_file():
            before = json.loads(known.read_text(encoding="utf-8"))
            if {key: before[key] for key in asked} == asked:
                return before[SCORE]
        model.to(world.device)  # type: ignore[arg-type]
        found = compute_metrics(task, logits_of(model, rows, world.device), rows.gold)[SCORE]
        value = None if np.isnan(found) else found
        write_atomically(known, json.dumps({**asked, SCORE: value}, indent=2) + "\n")
        return value

    value = world.first(score)
    constant = 0.0
    if task.labels is not None:
        constant = max(
            compute_metrics(task, np.tile(answer, (len(rows), 1)), rows.gold)[SCORE] for answer in np.eye(task.classes)
        )
    shown = "undefined" if value is None else f"{value:.4f}"
    world.say(f"teacher: {' and '.join(task.metrics)} on {split} {shown}")
    if value is None or value <= constant:
        text = (
            f"the teacher {name} reaches {shown} on {split}, and the same answer to every row {constant:.4f}: "
            "a student learns nothing of it. Fine-tune it longer (--finetune.epochs) or choose another"
        )
        _refuse(text, inputs, world)
