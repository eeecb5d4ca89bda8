"""General distillation: a `Stage` opened from its configuration, and run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import BertConfig

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.general import GeneralConfig, SettledConfig
from megatinybert.models.initialize import STUDENT_FOLDER
from megatinybert.models.layer_map import layers_in_words
from megatinybert.models.load import Teacher, load_teacher, teacher_dtype
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.programs.ending import ending
from megatinybert.programs.open_data import open_data, skipping, with_shards
from megatinybert.programs.open_models import Models, Reader, taught_models, tokenizer_name, untaught_models
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import HeldOutData, TrainingData
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from megatinybert.samples.mixture import Mixture
from megatinybert.samples.open import HeldOut, Samples, data_checksum, data_identity
from megatinybert.samples.short_rows import ShortRows
from megatinybert.tracking.attention_maps import AttentionPictures, drawing_interval
from megatinybert.training.agreement import check_same_program
from megatinybert.training.checkpoint import Best
from megatinybert.training.checks import check_corpus, tokens_of
from megatinybert.training.export import export_objective, export_student
from megatinybert.training.first_weights import OBJECTIVE_FILE, trained_positions
from megatinybert.training.fits import check_memory
from megatinybert.training.held_out import beside_losses, held_out
from megatinybert.training.model_card import Provenance, write_card
from megatinybert.training.run import Ready, check_machine, check_settings, facts_of, get_ready, local_ranks, run_stage
from megatinybert.training.schedule import held_out_interval
from megatinybert.training.size import Size, check_size, check_steps_done, draft, settle
from megatinybert.training.solve.calibration import CUT, ROWS, Calibration
from megatinybert.training.solve.first import solve_first_weights
from megatinybert.training.solve.record import write_record
from megatinybert.training.solve.student import Solution
from megatinybert.training.stage import Facts, Stage
from megatinybert.training.trainee import Trainee


def distil(config: GeneralConfig, world: World) -> None:
    """Run, or continue, the distillation that `config` describes. Every rank calls it.

    Raises ValueError listing whatever does not fit together, before the first step; later
    `finite.NonFiniteLoss` and `stop.Stopped`.
    """
    check_same_program(config, world)
    findings = Findings()
    world.say("opening teacher, student and data")
    run_stage(open_stage(config, world, findings), findings, world)
    if world.is_main:
        print(ending(Path(config.run.output_dir)), flush=True)


def open_stage(config: GeneralConfig, world: World, findings: Findings) -> Stage | None:
    """Open what `config` names. What is found is added to `findings`; None where some of it is a failure.

    Whatever can be looked at without the things that failed is looked at, so that all mistakes are told at once.
    """
    check_machine(Path(config.run.output_dir), world, findings)
    taught, wanted = config.objective.name != "mlm", config.teacher
    dtype = teacher_dtype(wanted.dtype, world.device, wanted.quantize) if taught else None
    early = Findings()  # of what the batch does not decide; whatever forbids the run is told before text is read
    check_settings(draft(config, world.size), dtype, wanted.quantize, world, early)
    findings.add(*(finding for finding in early.all if early.failed))
    tokenizer = findings.attempt("tokenizer", tokenizer_name, config) or ""
    models = (taught_models if taught else untaught_models)(config, tokenizer, world, findings)
    # Last, since to make shards of text may take long; called by all ranks, whatever they have found.
    sources = findings.attempt("text", with_shards, config, tokenizer, world, findings)
    text = open_data(config, sources, models, findings)
    width = models.trainee.student.config.hidden_size if models.trainee else 0
    size = settle(config, text[0].samples, width, world.size) if text else None
    settled = size.config if size else draft(config, world.size)
    settings = check_settings(settled, dtype, wanted.quantize, world, findings)  # called by all ranks
    if not (settings and models.reader and models.trainee and text and size and (models.teacher or not taught)):
        return None
    windows, held_out_windows = text
    findings.add(*check_corpus(settled, windows, held_out_windows, size.steps))
    findings.attempt("output folder", check_steps_done, settled, size.steps)
    if world.device.type == "cpu":
        shapes = models.trainee.student.config, models.teacher_config
        rows, length = settings.raw["train_micro_batch_size_per_gpu"], config.data.sequence_length
        findings.add(*check_memory(*shapes, rows, local_ranks(world), length))
    findings.add(*check_size(size, windows.samples, tokens_of(windows), width, world.size))
    data = skipping(config, windows, models, findings)
    if data is None:
        return None
    return _describe(size, settings, models, models.reader, tokenizer, text, data, world)


def look(config: GeneralConfig, world: World, findings: Findings) -> Ready | None:
    """All that a run finds at its start, without the run; None where something forbids it."""
    stage = open_stage(config, world, findings)
    return get_ready(stage, facts_of(stage, world), world, findings) if stage else None


def silence_transformers() -> None:
    """Its notices tell of the heads we drop on purpose; weights that are missing we refuse ourselves."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def facts_of_data(config: GeneralConfig, windows: Samples) -> Facts:
    """What decides the result of a general distillation beside what decides that of any run."""
    facts: dict[str, Any] = {
        "corpus": data_identity(windows),
        "corpus checksum": data_checksum(windows),
        "teacher.quantize": config.teacher.quantize,
        "data.sequence_length": config.data.sequence_length,
        "data.pair_probability": config.data.pair_probability,
        "data.position_skips": config.data.position_skips,
        "data.shuffle_block": config.data.shuffle_block,
        "objective": config.objective.model_dump(mode="json"),
    }
    if config.data.short_rows:
        facts["data.short_rows"] = config.data.short_rows
    if config.student.init == "solved":
        facts |= {"student.init": "solved", "student.solve_tokens": config.student.solve_tokens}
    if config.objective.name == "mlm":
        facts["objective"] = {"name": "mlm", **config.mlm.model_dump(mode="json")}
    return facts


@dataclass(frozen=True)
class GeneralStudent:
    """What general distillation leaves: the student with its card, and what its objective learnt.

    teacher: configuration of the whole one; None of an objective without a teacher. positions: that the windows reach.
    windows: of one epoch. steps: of the run.
    """

    config: SettledConfig
    trainee: Trainee
    teacher: BertConfig | None
    tokenizer: str
    positions: int
    windows: int
    steps: int

    @property
    def path(self) -> Path:
        return Path(self.config.run.output_dir) / STUDENT_FOLDER

    def is_made(self, facts: Facts) -> bool:
        """Never: the checkpoint says how far the run is, and to export once more costs little."""
        return False

    def make(self, trainees: Trainees, best: Best | None, facts: Facts, world: World) -> None:
        config, shape = self.config, self.trainee.student.config
        reached = self.positions if config.data.position_skips else config.data.sequence_length
        trained = trained_positions(config.student.init, reached, shape.max_position_embeddings)
        output = Path(config.run.output_dir)
        export_objective(trainees.only, output / OBJECTIVE_FILE, config.objective, trained, world)
        export_student(trainees.only, self.path, self.tokenizer, world, sentence_length=trained)
        if world.is_main:
            write_card(output, Provenance(config, self.teacher, shape, self.steps, self.windows))


@dataclass(frozen=True)
class Solver:
    """Gives a trainee its first weights by solving, on the first rows of its data."""

    config: GeneralConfig
    trainee: Trainee
    teacher: Teacher
    data: TrainingData

    def __call__(self, world: World) -> None:
        solution = self.on(self.config.student.solve_tokens, world)
        world.say(f"student: {solution}")
        if world.is_main:
            write_record(Path(self.config.run.output_dir), solution.record)

    def on(self, tokens: int, world: World) -> Solution:
        """Solve on about so many tokens, and record nothing."""
        config, taught_by = self.config, self.teacher
        if taught_by.quantize != "none":  # it is solved from the weights, which have to be there
            dtype = teacher_dtype(config.teacher.dtype, world.device)
            depth = self.trainee.objective.teacher_layers
            taught_by = load_teacher(str(config.teacher.model), depth, dtype, world.device)
        calibration = Calibration(self.data, tokens, config.data.sequence_length, ROWS, world, CUT)
        return solve_first_weights(self.trainee, taught_by, calibration, config.run.seed, world)


def _describe(
    size: Size,
    settings: DeepSpeedSettings,
    models: Models,
    reader: Reader,
    tokenizer: str,
    text: tuple[Samples, HeldOut],
    data: TrainingData,
    world: World,
) -> Stage:
    """data: the windows as they are trained on, before any of their tokens are masked."""
    config, max_steps = size.config, size.steps
    windows, held_out_windows = text
    teacher, trainee = models.teacher, models.trainee
    assert trainee is not None
    rows: HeldOutData = held_out_windows
    solve = Solver(config, trainee, teacher, data) if config.student.init == "solved" and teacher else None
    if config.data.short_rows:
        data = ShortRows(data, config.run.seed, config.data.short_rows, config.run.global_batch)
    if teacher is None:
        masking = Masking(reader.tokenizer, config.run.seed, config.mlm.probability)
        data, rows = Masked(data, masking), MaskedHeldOut(held_out_windows, masking)
    micro_batch = settings.raw["train_micro_batch_size_per_gpu"]

    def measure(trainees: Trainees, world: World) -> dict[str, float]:
        return held_out(trainees, teacher, rows, micro_batch, world)

    pictures = None
    if models.maps and teacher:
        interval = drawing_interval(config.monitor, held_out_interval(config.run, max_steps), max_steps)
        pictures = AttentionPictures(models.maps, teacher, rows, tokenizer, world, interval)
    product = GeneralStudent(
        config, trainee, models.teacher_config, tokenizer, models.positions, windows.samples, max_steps
    )
    return Stage(
        name="distil" if teacher else config.objective.name,
        config=config,
        settings=settings,
        trainee=trainee,
        teacher=teacher,
        tokenizer=tokenizer,
        data=data,
        length=config.data.sequence_length,
        max_steps=max_steps,
        decides=facts_of_data(config, windows),
        measure=measure,
        measured=beside_losses(teacher, trainee.objective),
        product=product,
        pictures=pictures,
        about=_about(size, models, windows, held_out_windows),
        recipe=config,
        learner="student" if teacher else "model",
        solve=solve,
        try_solving=solve.on if solve else None,
    )


def _about(size: Size, models: Models, windows: Samples, held_out: HeldOut) -> list[str]:
    """What runs, for the person who started it."""
    config = size.config
    lines = []
    if models.teacher and models.teacher_config and models.trainee:
        dtype = str(models.teacher.model.dtype).removeprefix("torch.")
        if models.teacher.quantize != "none":
            dtype += f", products in {models.teacher.quantize}"
        depth = f"{models.trainee.objective.teacher_layers} of {models.teacher_config.num_hidden_layers} layers"
        lines = [f"teacher {config.teacher.model}: {depth} in {dtype}"]
        if isinstance(models.trainee.objective, TinyBert):
            total, layers = models.teacher_config.num_hidden_layers, models.trainee.objective.layer_map
            lines.append(layers_in_words(config.objective.layer_map, layers, total))
    drawn = size.steps * config.run.global_batch
    mixture = windows.lines(drawn) if isinstance(windows, Mixture) else []
    return [
        *lines,
        f"data: {windows.samples:,} windows of {config.data.sequence_length} tokens; held out: "
        f"{len(held_out.sample_ids):,} windows ({held_out.origin})",
        *(f"data: {line}" for line in mixture),
        *(f"by default: {reason}" for reason in size.reasons),
    ]
