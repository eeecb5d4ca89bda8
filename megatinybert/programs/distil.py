"""A general distillation run put together: configuration in, exported student out."""

from __future__ import annotations

import sys
from pathlib import Path

from megatinybert.config.general import GeneralConfig
from megatinybert.models.initialize import STUDENT_FOLDER
from megatinybert.models.load import size_of
from megatinybert.programs.prepare import Inputs, prepare, refuse
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.findings import Findings
from megatinybert.samples.mixture import Mixture
from megatinybert.tracking.attention_maps import AttentionPictures, drawing_interval
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.panel import config_text
from megatinybert.training import checkpoint
from megatinybert.training.card import Provenance, write_card
from megatinybert.training.choices import Choices
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.engine import build_engine
from megatinybert.training.export import export_objective, export_student
from megatinybert.training.first_weights import OBJECTIVE_FILE, trained_positions
from megatinybert.training.held_out import beside_losses, held_out
from megatinybert.training.loop import Run, fit
from megatinybert.training.record import write_config

STUDENT = "student"


def distil(config: GeneralConfig, world: World) -> None:
    """Run, or continue, the distillation that `config` describes. Every rank calls it.

    Raises ValueError listing whatever does not fit together, before the first step; `fit.NonFiniteLoss` later.
    """
    output = Path(config.run.output_dir)
    findings = Findings()
    inputs = prepare(config, world, findings)
    refuse(findings, world)
    assert inputs is not None  # without failures there are inputs
    check_shared(output, world)

    micro_batch = inputs.micro_batch
    kernels = settle_choices(config, inputs, inputs.settings, world.size, world)
    engines = {STUDENT: build_engine(inputs.trainee, config.optimizer, inputs.settings, kernels)}
    if inputs.start:
        checkpoint.load(inputs.start, engines)
    monitor = None
    if world.is_main:
        write_config(output, config, inputs.settings, kernels, world)
        warnings = [f"warning: {each.subject}: {each.text}" for each in findings.all if each.level == "warn"]
        print("\n".join([*warnings, *_start_lines(config, inputs, kernels, world)]), file=sys.stderr)
        title = "distil" if inputs.teacher else config.objective.name
        monitor = Monitor(output, inputs.first_step, inputs.max_steps, title)
        monitor.text("config", config_text((output / "config.yaml").read_text(encoding="utf-8")))
    teacher, rows, pictures = inputs.teacher, inputs.held_out_data, None
    if inputs.maps and teacher:
        interval = drawing_interval(config.monitor, config.run.held_out_interval, inputs.max_steps)
        pictures = AttentionPictures(inputs.maps, teacher, rows, inputs.tokenizer, world, interval)
    run = Run(
        config,
        engines,
        teacher,
        inputs.data,
        micro_batch,
        inputs.max_steps,
        inputs.facts | kernels.facts,
        world,
        measure=lambda: held_out(engines, teacher, rows, micro_batch, world),
        measured=beside_losses(teacher),
        pictures=pictures,
    )
    try:
        fit(run, inputs.first_step, monitor)
    finally:
        if monitor:
            monitor.close()
    reached = inputs.positions if config.data.position_skips else config.data.sequence_length
    own = inputs.trainee.student.config.max_position_embeddings
    trained = trained_positions(config.student.init, reached, own)
    export_objective(engines[STUDENT], output / OBJECTIVE_FILE, config.objective, trained, world)
    export_student(engines[STUDENT], output / STUDENT_FOLDER, inputs.tokenizer, world)
    if world.is_main:
        student, windows = inputs.trainee.student.config, inputs.windows.samples
        write_card(output, Provenance(config, inputs.teacher_config, student, inputs.max_steps, windows))


def _start_lines(config: GeneralConfig, inputs: Inputs, kernels: Choices, world: World) -> list[str]:
    """What runs, for the person who started it."""
    trainee, held_out = inputs.trainee, inputs.held_out
    drawn = inputs.max_steps * config.run.global_batch
    mixture_lines = inputs.windows.lines(drawn) if isinstance(inputs.windows, Mixture) else []
    teacher_lines = []
    if inputs.teacher and inputs.teacher_config:
        dtype = str(inputs.teacher.model.dtype).removeprefix("torch.")
        if inputs.teacher.quantize != "none":
            dtype += f", products in {inputs.teacher.quantize}"
        layers = f"{trainee.objective.teacher_layers} of {inputs.teacher_config.num_hidden_layers} layers"
        teacher_lines = [f"teacher {config.teacher.model}: {layers} in {dtype}"]
    return [
        *teacher_lines,
        f"student {config.student.config}: {size_of(trainee.student).parameters:,} parameters, "
        f"{inputs.settings.precision}, ZeRO {inputs.settings.stage}, {world.size} rank(s) on {world.device.type}",
        f"data: {inputs.windows.samples:,} windows of {config.data.sequence_length} tokens; held out: "
        f"{len(held_out.sample_ids):,} windows ({held_out.origin})",
        *(f"data: {line}" for line in mixture_lines),
        f"steps: {inputs.first_step:,} done of {inputs.max_steps:,}, {config.run.global_batch} windows each, "
        f"micro batch {inputs.micro_batch}",
        f"kernels: {kernels}",
    ]
