"""General distillation as stages of training: one for each student, of what has been opened."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.general import GeneralConfig, MemberConfig
from megatinybert.corpus.vocabulary import is_chinese
from megatinybert.models.layer_map import layers_in_words
from megatinybert.models.load import Teacher
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.programs.general_options import facts_of_options
from megatinybert.programs.general_student import GeneralStudent, Solver, SolverOfAll
from megatinybert.programs.members import Members
from megatinybert.programs.open_models import Models
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import HeldOutData, TrainingData
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from megatinybert.samples.mixture import Mixture
from megatinybert.samples.open import HeldOut, Samples, data_checksum, data_files, data_identity
from megatinybert.samples.short_rows import ShortRows
from megatinybert.tracking.attention_maps import AttentionPictures, drawing_interval
from megatinybert.training.held_out import beside_losses, held_out
from megatinybert.training.other_text import FILES
from megatinybert.training.partitioned_teacher import PartitionedTeacher
from megatinybert.training.schedule import held_out_interval
from megatinybert.training.size import Size
from megatinybert.training.stage import Facts, Family, Stage

_LOOKED_AT = 32  # windows, to tell the language of a text


@dataclass(frozen=True)
class Opened:
    """What a general distillation is made of. sizes, settings: by student. windows: as they are read; data: as they are
    trained on, before any of their tokens are masked.
    """

    members: Members
    sizes: Mapping[str, Size]
    settings: Mapping[str, DeepSpeedSettings]
    models: Models
    tokenizer: str
    windows: Samples
    held_out: HeldOut
    data: TrainingData

    @property
    def teacher(self) -> Teacher | None:
        """As deep as any student needs it, as is that of each."""
        return next(iter(self.models.teachers.values()), None)


def describe(config: GeneralConfig, opened: Opened, world: World) -> Family:
    """config: as the user gives it."""
    first = next(iter(opened.sizes.values())).config
    data, rows = _rows(first, opened)
    members = {name: _stage(name, config, opened, data, rows, world) for name in opened.sizes}
    if config.students is None:
        return Family.of_one(next(iter(members.values())))
    solvers = {name: stage.solve for name, stage in members.items() if isinstance(stage.solve, Solver)}
    students = [_settled(member, opened.sizes[member.name]) for member in config.students]
    run = first.run.model_copy(update={"output_dir": config.run.output_dir, "resume": config.run.resume})
    recipe = config.model_copy(update={"run": run, "students": students})
    solve = SolverOfAll(solvers) if solvers else None
    return Family(members, opened.teacher, Path(config.run.output_dir), recipe, solve, config.run.resume)


def _settled(member: MemberConfig, size: Size) -> MemberConfig:
    return member.model_copy(update={"optimizer": size.config.optimizer})


def _rows(config: GeneralConfig, opened: Opened) -> tuple[TrainingData, HeldOutData]:
    """What all students are trained and measured on. config: of any."""
    data, reader = opened.data, opened.models.reader
    assert reader
    if config.data.short_rows:
        assert config.run.global_batch
        data = ShortRows(data, config.run.seed, config.data.short_rows, config.run.global_batch)
    if opened.teacher:
        return data, opened.held_out
    masking = Masking(reader.tokenizer, config.run.seed, config.mlm.probability)
    return Masked(data, masking), MaskedHeldOut(opened.held_out, masking)


def _stage(
    name: str, wanted: GeneralConfig, opened: Opened, data: TrainingData, rows: HeldOutData, world: World
) -> Stage:
    size, settings, models = opened.sizes[name], opened.settings[name], opened.models
    config, max_steps = size.config, size.steps
    trainee, teacher = models.trainees[name], models.teachers.get(name)
    solve = Solver(name, config, trainee, teacher, opened.data) if config.student.init == "solved" and teacher else None
    micro_batch = settings.raw["train_micro_batch_size_per_gpu"]

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        return held_out(trainees, teacher, rows, micro_batch, world)

    pictures, maps = None, models.maps.get(name)
    if maps and teacher:
        interval = drawing_interval(config.monitor, held_out_interval(config.run, max_steps), max_steps)
        pictures = AttentionPictures(maps, teacher, rows, opened.tokenizer, world, interval)
    beside = tuple(other for other in opened.sizes if other != name)
    product = GeneralStudent(
        config,
        trainee,
        models.teacher_config,
        opened.tokenizer,
        models.positions,
        opened.windows.samples,
        max_steps,
        beside,
        functools.partial(_is_chinese, opened),
    )
    return Stage(
        name="distil" if teacher else config.objective.name,
        config=config,
        settings=settings,
        trainee=trainee,
        teacher=teacher,
        tokenizer=opened.tokenizer,
        data=data,
        length=config.data.sequence_length,
        max_steps=max_steps,
        decides=facts_of_data(config, opened.windows),
        measure=measure,
        measured=beside_losses(teacher, trainee.objective),
        product=product,
        pictures=pictures,
        about=_about(name, opened, world),
        windows=len(opened.held_out),
        recipe=config.model_copy(update={"run": config.run.model_copy(update={"resume": wanted.run.resume})}),
        learner="student" if teacher else "model",
        solve=solve,
        try_solving=solve.on if solve else None,
    )


def _is_chinese(opened: Opened) -> bool:
    """Whether the text is Chinese beyond doubt, as its first held-out windows have it."""
    reader, some = opened.models.reader, np.arange(min(_LOOKED_AT, len(opened.held_out)))
    return reader is not None and is_chinese(reader.tokenizer, opened.held_out.batch(some)["input_ids"].ravel())


def facts_of_data(config: GeneralConfig, windows: Samples) -> Facts:
    """What decides the result of a general distillation beside what decides that of any run."""
    corpus = {"corpus": data_identity(windows), "corpus checksum": data_checksum(windows), FILES: data_files(windows)}
    return {**corpus, **facts_of_options(config)}


def _about(name: str, opened: Opened, world: World) -> list[str]:
    """What runs, for the person who started it."""
    size, trainee, teacher = opened.sizes[name], opened.models.trainees[name], opened.models.teachers.get(name)
    config, whole = size.config, opened.models.teacher_config
    lines = []
    if teacher and whole:
        dtype = str(teacher.model.dtype).removeprefix("torch.")
        if teacher.quantize != "none":
            dtype += f", products in {teacher.quantize}"
        depth = f"{teacher.model.config.num_hidden_layers} of {whole.num_hidden_layers} layers"
        lines = [f"teacher {config.teacher.model}: {depth} in {dtype}"]
        lines += [teacher.in_words(world)] if isinstance(teacher, PartitionedTeacher) else []
        if isinstance(trainee.objective, TinyBert):
            total, layers = whole.num_hidden_layers, trainee.objective.layer_map
            lines.append(layers_in_words(config.objective.layer_map, layers, total))
    windows, held_out_windows = opened.windows, opened.held_out
    drawn = size.steps * config.run.global_batch
    mixture = windows.lines(drawn) if isinstance(windows, Mixture) else []
    return [
        *lines,
        f"data: {counted(windows.samples, 'window')} of {config.data.sequence_length} tokens; held out: "
        f"{counted(len(held_out_windows.sample_ids), 'window')} ({held_out_windows.origin})",
        *(f"data: {line}" for line in mixture),
        *(f"by default: {reason}" for reason in size.reasons),
    ]
