"""The actions of launch/task.sh, each skipped if already done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from transformers import BertModel

from megatinybert.config.missing import missing_student
from megatinybert.config.task import CONTINUES_ANYWAY, READING, PredictConfig, TaskConfig
from megatinybert.corpus.vocabulary import are_mostly_unknown
from megatinybert.models.initialize import SHAPE
from megatinybert.models.load import Digest, load_encoder, teacher_dtype
from megatinybert.models.published import has_classifier
from megatinybert.programs.evaluate import evaluate, predict
from megatinybert.programs.task_rows import training_file
from megatinybert.runtime.counts import counted
from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.findings import Findings
from megatinybert.tasks.augment.report import AugmentReport
from megatinybert.tasks.augment.run import augment
from megatinybert.tasks.augmented import augment_options
from megatinybert.tasks.baseline import SCORE, Baseline, constant_scores
from megatinybert.tasks.card import card_of, write_card
from megatinybert.tasks.classifiers import as_teacher, load_fine_tuned
from megatinybert.tasks.forecast import uncounted_in_stages, with_forecast, work_of_stages
from megatinybert.tasks.inputs import TaskInputs, open_inputs
from megatinybert.tasks.logits import logits_of
from megatinybert.tasks.made_classes import check_classes
from megatinybert.tasks.made_otherwise import check_options_of_stages
from megatinybert.tasks.metrics import compute_metrics
from megatinybert.tasks.plan import Plan, doubts_about, stages_of
from megatinybert.tasks.reading.row_checks import check_rows
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.stage_options import has_stage_one, longer, stage_folder
from megatinybert.tasks.stages import answers, finetuning, first_student, layers, masked_lm
from megatinybert.training.agreement import check_same_program
from megatinybert.training.lock import run_lock
from megatinybert.training.record import write_config
from megatinybert.training.run import run_stage
from megatinybert.training.stage import Stage
from megatinybert.training.stop import interrupted_as


def run_task(asked: tuple[str, TaskConfig], world: World) -> None:
    """Do what is asked: an action, one of `task_schema.ACTIONS`, by a configuration. Every rank calls it.

    Raises ValueError for what the user can put right, early where that can be seen; NonFiniteLoss and Stopped.
    """
    action, config = asked
    check_same_program(config, world, action)
    actions = _ALL if action == "all" else (action,)
    world.first(lambda: check_options_of_stages(config, actions))
    findings = Findings()
    world.say("opening the task's files, models and tokenizer")
    compares_layers = action in ("one", "all") and has_stage_one(config)
    inputs = open_inputs(config, world, findings, compares_layers, trains=action not in READING)
    world.refuse(findings.texts("fail"))
    assert inputs  # without failures there are inputs
    check_shared(inputs.output, world)
    for warning in findings.warnings:
        world.say(warning)
    world.first(lambda: check_classes(inputs, action))
    checks = world.first(lambda: check_rows(inputs.files, config.task.skip_bad_rows)) if action != "predict" else None
    if checks:
        world.say("\n".join([*checks.facts, *(f"warning: {warning}" for warning in checks.warnings)]))
    stages = world.together(lambda: [stage for each in actions for stage in stages_of(each, inputs)])
    plan = Plan(stages, checks.on_scores if checks else ())
    for line in world.first(lambda: doubts_about(action, inputs, stages, checks.rows if checks else 0)):
        world.say(f"warning: {line}")
    with contextlib.nullcontext() if action in READING else run_lock(inputs.output, world):
        if action != "predict":
            _check_vocabulary(inputs, world, refuses=action not in READING)
        for part in actions:
            _ACTIONS[part](inputs, plan, world)
        # Answering a file changes nothing of what later commands are to find.
        if world.is_main and not (action == "predict" and (inputs.output / "config.yaml").is_file()):
            _record(inputs, world)


def _record(inputs: TaskInputs, world: World) -> None:
    """Write config.yaml, once nothing refuses these options. On rank 0."""
    recipe = inputs.config.model_copy(update={"predict": PredictConfig()})  # which no later action should find in it
    write_config(inputs.output, recipe, inputs.settings["two"], None, world)


def _train(
    name: str, inputs: TaskInputs, plan: Plan, world: World, rows: EncodedRows, describe: Callable[[], Stage]
) -> None:
    """Open a stage on every rank, then train it. rows: those it trains on."""
    stage = replace(world.together(describe), begins=lambda: _record(inputs, world))
    work, uncounted = work_of_stages(inputs, rows), uncounted_in_stages(inputs.config)
    plan.end(name, run_stage(with_forecast(stage, name, plan.stages, work, uncounted), Findings(), world))


def _rows(inputs: TaskInputs, world: World, file: Path, what: str = "training rows") -> EncodedRows:
    return world.together(lambda: inputs.rows(file, what))


def _teacher(inputs: TaskInputs, plan: Plan, world: World) -> None:
    plan.begin("teacher", world)
    _check_rows_differ(inputs, world)
    if "teacher" not in plan.stages:
        world.say(f"teacher: {inputs.config.teacher.model} is fine-tuned already")
    else:
        rows = _rows(inputs, world, inputs.files.train)
        _train("teacher", inputs, plan, world, rows, lambda: finetuning(inputs, rows))
    _check_teacher(inputs, world)


def _augment(inputs: TaskInputs, plan: Plan, world: World) -> None:
    name = inputs.config.augment.model or inputs.config.teacher.model
    if "augment" not in plan.stages:
        world.say("augment: left out (--augment.copies 0; 2, or published, makes copies)")
        return
    if "mlm" in plan.stages:
        plan.begin("mlm", world)
        rows = _rows(inputs, world, inputs.files.train, "rows of the masked-LM")
        _train("mlm", inputs, plan, world, rows, lambda: masked_lm(inputs, rows))
        name = str(inputs.output / "mlm")
    plan.begin("augment", world)
    options = augment_options(inputs.config, name)
    options.output.parent.mkdir(parents=True, exist_ok=True)

    def rewrite() -> AugmentReport:
        try:
            return augment(options)
        except RuntimeError as error:  # a worker was killed
            raise ChildProcessError(str(error)) from error

    report = world.first(rewrite)
    if world.is_main and not report.was_whole:
        _record(inputs, world)
    world.say(f"augment: {report.told}")


def _one(inputs: TaskInputs, plan: Plan, world: World) -> None:
    if "one" not in plan.stages:
        world.say("stage one: left out (--one.epochs 0)")
        return
    plan.begin("one", world)
    teacher = world.together(lambda: _fine_tuned_teacher(inputs))
    _check_teacher(inputs, world)
    rows = _rows(inputs, world, training_file(inputs, world))
    _train("one", inputs, plan, world, rows, lambda: layers(inputs, teacher, rows, world))


def _two(inputs: TaskInputs, plan: Plan, world: World) -> None:
    plan.begin("two", world)
    config, name = inputs.config, world.together(lambda: _fine_tuned_teacher(inputs))
    _check_teacher(inputs, world)
    rows = _rows(inputs, world, training_file(inputs, world))

    def describe() -> Stage:
        model = load_fine_tuned(name, "teacher", inputs.task, config.teacher.labels)
        teacher = as_teacher(model, teacher_dtype(config.teacher.dtype, world.device), world.device)
        body = first_student(inputs, name)[0] if not has_stage_one(config) else _student_of_one(inputs)
        return answers(inputs, teacher, body, rows)

    _train("two", inputs, plan, world, rows, describe)
    if world.is_main and not card_of(inputs).is_file():
        write_card(inputs, None)


def _eval(inputs: TaskInputs, plan: Plan, world: World) -> None:
    plan.begin("eval", world)
    teacher = world.together(lambda: _fine_tuned_teacher(inputs))
    world.first(lambda: evaluate(inputs, teacher, _student(inputs), world.device, plan.on_scores))


def _predict(inputs: TaskInputs, _: Plan, world: World) -> None:
    with interrupted_as(
        "stopped; nothing is written of a file until all of it is answered: the same command starts anew"
    ):
        world.first(lambda: predict(inputs, _student(inputs), world.device))


_ACTIONS: dict[str, Callable[[TaskInputs, Plan, World], None]] = {
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
    if not inputs.config.predict.model and (problem := missing_student(inputs.config.run.output_dir)):
        raise ValueError(problem)
    return inputs.config.predict.model or str(inputs.output / "student")


def _check_rows_differ(inputs: TaskInputs, world: World) -> None:
    """Raise ValueError for development rows that are all alike: no answer to them says which model is better."""
    split, rows = next(iter(world.together(lambda: inputs.dev).items()))
    if (rows.gold != rows.gold[0]).any():
        return
    of_split = f"all {len(rows):,} rows of {split} ({inputs.files.dev[split]}) have the same label"
    why = "so no measurement on them says which weights are better: shuffle the rows before you divide them"
    _refuse(f"{of_split}, {why}", inputs, world)


def _check_vocabulary(inputs: TaskInputs, world: World, refuses: bool) -> None:
    """Warn of development rows that the tokenizer does not know. refuses: raise ValueError where it mostly does not,
    since no model learns from such rows.
    """
    splits = world.together(lambda: inputs.dev)
    split, rows = next(iter(splits.items()))
    unknown, tokens, text = inputs.unknown(rows, inputs.files.dev[split])
    if refuses and text and are_mostly_unknown(unknown, tokens):
        _refuse(f"{split} ({inputs.files.dev[split]}): {text}", inputs, world)
        inputs.told_unknown.append(unknown / tokens)
    for name, own in splits.items():
        inputs.tell_unknown(name, own, inputs.files.dev[name])


def _refuse(text: str, inputs: TaskInputs, world: World) -> None:
    """Raise ValueError, or with --task.force warn and continue."""
    if not inputs.config.task.force:
        raise ValueError(f"{text}; {CONTINUES_ANYWAY}")
    inputs.say_once(f"warning: {text}", world)


def _check_teacher(inputs: TaskInputs, world: World) -> None:
    """Raise ValueError for a teacher no better on the development rows than one answer; warn of a lead by chance."""
    split, rows = next(iter(world.together(lambda: inputs.dev).items()))
    name, task = world.together(lambda: _fine_tuned_teacher(inputs)), inputs.task

    def score() -> float | None:
        model = load_fine_tuned(name, "teacher", task, inputs.config.teacher.labels)
        known = inputs.output / "teacher.json"
        asked = {"teacher": Digest.of(model).fingerprint, "rows": rows.identity}
        if known.is_file():
            before = json.loads(known.read_text(encoding="utf-8"))
            if {key: before[key] for key in asked} == asked:
                return before[SCORE]
        model.to(world.device)  # type: ignore[arg-type]
        world.say(f"measuring the teacher on {counted(len(rows), 'row')} of {split}")
        found = compute_metrics(task, logits_of(model, rows, world.device), rows.gold)[SCORE]
        value = None if np.isnan(found) else found
        write_atomically(known, json.dumps({**asked, SCORE: value}, indent=2) + "\n")
        return value

    value = world.first(score)
    baseline = Baseline.of(task.metrics, constant_scores(task, rows.gold)[SCORE], len(rows))
    shown = "undefined" if value is None else f"{value:.4f}"
    inputs.say_once(f"teacher: {' and '.join(task.metrics)} on {split} {shown}", world)
    if baseline.is_beaten(value):
        return
    why = f"the teacher {name} is {baseline.unbeaten(value, split)}"
    if value is not None and value > baseline.constant:
        inputs.say_once(f"warning: {why}: what its student keeps of it means nothing", world)
    else:
        _refuse(f"{why}: a student can learn nothing from it. {_better_teacher(inputs)}", inputs, world)


def _better_teacher(inputs: TaskInputs) -> str:
    """What to do about a teacher that has not learnt the task."""
    if has_classifier(inputs.config.teacher.model):
        return (
            "With --teacher.model name a better one, or a BERT that is not fine-tuned, which the action teacher then "
            "fine-tunes"
        )
    folders = f"{inputs.output / 'teacher'} and {stage_folder(inputs.output, 'teacher')}"
    return (
        f"To fine-tune it longer ({longer(inputs.config, 'finetune')}), either name a new --run.output_dir or delete "
        f"{folders}. If that does not help, name another --teacher.model"
    )
