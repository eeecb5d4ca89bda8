"""One stage of task distillation: a run of the same engine, loop, checkpoints and monitor as general distillation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.config.schema import Section
from megatinybert.config.task import in_words_of
from megatinybert.models.load import Teacher, fingerprint_of, size_of
from megatinybert.runtime.differences import refuse_differences
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.files import publish_folder
from megatinybert.samples.batches import TrainingData
from megatinybert.tasks.inputs import TaskInputs, settings_of
from megatinybert.tasks.rows import EncodedRows
from megatinybert.tasks.stage_options import SECTIONS, steps_of, training_of
from megatinybert.tracking.attention_maps import AttentionPictures, drawing_interval
from megatinybert.tracking.monitor import Monitor
from megatinybert.training import checkpoint
from megatinybert.training.checkpoint import Best
from megatinybert.training.choices import check_choices, choose_implementations
from megatinybert.training.engine import build_engine, dry_batch, rank_micro_batches
from megatinybert.training.export import export_student
from megatinybert.training.loop import NonFiniteLoss, Run, fit
from megatinybert.training.resume import starting_point, training_facts
from megatinybert.training.trainee import Trainee

_STUDENT = "student"
_MADE_OF = "stage.json"
_PLACEMENT = ("ZeRO stage", "precision", "world size")  # where a stage runs is not what its result is made of


@dataclass(frozen=True)
class Stage:
    """A training stage, ready to run.

    product: the model folder that it leaves. rows: what it trains on; data: them in their order. made_of: what decides
    its result, beside options, models and rows. measure: of the student as it is, on the development rows; measured:
    its tags beside the losses. best: the tag whose best weights are kept; None: the last ones are. pictures: gives what
    draws attention maps at an interval of steps.
    """

    name: str
    product: Path
    trainee: Trainee
    teacher: Teacher | None
    rows: EncodedRows
    data: TrainingData
    made_of: Mapping[str, Any]
    measure: Callable[[DeepSpeedEngine], dict[str, float]]
    measured: Sequence[str]
    best: str | None = None
    pictures: Callable[[int], AttentionPictures | None] | None = None


def run_stage(stage: Stage, inputs: TaskInputs, world: World) -> None:
    """Train, or go on training, unless the product is there and made of the same. Every rank calls it.

    Raises ValueError where what is there was made of something else, or something does not fit, and NonFiniteLoss, in
    the words of the stage's options.
    """
    try:
        _run_stage(stage, inputs, world)
    except (ValueError, NonFiniteLoss) as error:
        raise type(error)(in_words_of(SECTIONS[stage.name], str(error))) from error


def _run_stage(stage: Stage, inputs: TaskInputs, world: World) -> None:
    config, section = inputs.config, SECTIONS[stage.name]
    options = getattr(config, section)
    max_steps = steps_of(options, len(stage.rows), int(stage.rows.lengths.sum()))
    folder = inputs.output / "stages" / stage.name
    training = training_of(config, section, folder, max_steps)
    settings = settings_of(config, section, world)
    facts = training_facts(training, settings, stage.trainee, stage.teacher, world) | dict(stage.made_of)
    student = stage.trainee.student.config
    facts |= {
        "rows": stage.rows.identity,
        "first weights": fingerprint_of(stage.trainee),
        "steps": max_steps,
        "student dropout": [student.hidden_dropout_prob, student.attention_probs_dropout_prob],
        **({"steps between measurements": training.run.held_out_interval} if stage.best else {}),
        **_options(f"--{section}", options, {"epochs", "max_steps", "micro_batch"}),
        **_options("--optimizer", config.optimizer, {"implementation"}),
        **_options("--schedule", config.schedule, set()),
    }
    facts = json.loads(json.dumps(facts))
    made_of = {key: value for key, value in facts.items() if key not in _PLACEMENT}
    if is_made(stage.product, made_of, folder):
        world.say(f"stage {stage.name}: done already ({stage.product})")
        return

    micro_batch = settings.raw["train_micro_batch_size_per_gpu"]
    check_shared(folder, world)
    start, passed_over = starting_point(training, facts)
    first_step, recorded = checkpoint.read_state(start) if start else (0, {})
    check_choices(training, settings, world.device, recorded)
    trainee = stage.trainee.to(world.device)
    _, batch = next(iter(rank_micro_batches(stage.data, 0, options.global_batch, micro_batch, world)))
    dry_batch(trainee, stage.teacher, batch, settings)
    kernels = choose_implementations(training, settings, trainee, micro_batch * inputs.max_length, world, recorded)
    engine = build_engine(trainee, training.optimizer, settings, kernels)
    if start:
        checkpoint.load(start, {_STUDENT: engine})

    def export(to: Path, beside: Mapping[str, str]) -> None:
        export_student(engine, to, inputs.tokenizer_name, world, beside)

    best = Best(folder / "best", stage.best, export, world) if stage.best else None
    if best and not start:
        world.first(best.forget)  # of a run that ended before its first checkpoint, by other options perhaps
    monitor = None
    if world.is_main:
        warnings = [f"warning: {line}" for line in passed_over]
        world.say("\n".join([*warnings, _start_line(stage, max_steps, first_step)]))
        monitor = Monitor(folder, first_step, max_steps, f"stage {stage.name}")
    run = Run(
        training,
        {_STUDENT: engine},
        stage.teacher,
        stage.data,
        micro_batch,
        max_steps,
        facts | kernels.facts,
        world,
        measure=lambda: stage.measure(engine),
        measured=stage.measured,
        pictures=stage.pictures(drawing_interval(config.monitor, training.run.held_out_interval, max_steps))
        if stage.pictures
        else None,
        best=best,
    )
    try:
        fit(run, first_step, monitor)
    finally:
        if monitor:
            monitor.close()
    mark = {_MADE_OF: json.dumps(made_of, indent=2, sort_keys=True) + "\n"}
    if best:
        world.first(lambda: _publish_best(best.folder, stage.product, mark))
    else:
        export(stage.product, mark)
    engine.destroy()


def is_made(product: Path, made_of: Mapping[str, Any], folder: Path) -> bool:
    """Whether a stage's model is there. Raises ValueError where it was made of something else.

    folder: of the stage's checkpoints, which would be continued else.
    """
    file = product / _MADE_OF
    if not file.is_file():
        return False
    before = json.loads(file.read_text(encoding="utf-8"))
    remedy = f"set these back, remove {product} and {folder} to make it anew, or choose another --run.output_dir"
    refuse_differences(f"{product} was made otherwise", before, made_of, remedy)
    return True


def _options(section: str, options: Section, without: set[str]) -> dict[str, Any]:
    return {f"{section}.{key}": value for key, value in options.model_dump(mode="json", exclude=without).items()}


def _publish_best(best: Path, product: Path, files: Mapping[str, str]) -> None:
    temporary = product.with_name(f".{product.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(best, temporary)
    for name, text in files.items():
        (temporary / name).write_text(text, encoding="utf-8")
    publish_folder(temporary, product)


def _start_line(stage: Stage, max_steps: int, first_step: int) -> str:
    parameters = size_of(stage.trainee.student).parameters
    return (
        f"stage {stage.name}: {parameters:,} parameters, {stage.data.samples:,} rows, "
        f"{first_step:,} of {max_steps:,} steps done"
    )
