"""One training run from start to export.

`check_machine` and `check_settings` look at what needs no model, `get_ready` at the whole; the doctor asks them too.
`run_stage` refuses on all ranks what any of them has found, then builds, loads, trains and exports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import BertModel

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.load import resolve_batch
from megatinybert.config.schema import Quantize, TrainingConfig
from megatinybert.models.load import size_as_saved, size_of
from megatinybert.models.quantize import check_quantized
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.runtime.hardware import computes_bfloat16
from megatinybert.runtime.trainees import Trainees
from megatinybert.runtime.versions import check_versions
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.tensorboard_layout import config_text
from megatinybert.training import checkpoint
from megatinybert.training.agreement import check_same_facts
from megatinybert.training.checkpoint import Best
from megatinybert.training.checks import check_precision, check_schedule, check_threads
from megatinybert.training.choices import Choices, check_choices
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.convert import check_target, load_converted
from megatinybert.training.disk import check_disk, check_output_folder, room
from megatinybert.training.engine import build_engine, dry_batch
from megatinybert.training.export import export_student
from megatinybert.training.lock import run_lock
from megatinybert.training.loop import Run, fit
from megatinybert.training.optimizers import prepare_kernel, updates_on_cpu
from megatinybert.training.placement import in_words, on_precision
from megatinybert.training.precision import settle_settings
from megatinybert.training.record import write_config
from megatinybert.training.resume import Start, starting_point, take_over, training_facts
from megatinybert.training.stage import Facts, Stage
from megatinybert.training.step import rank_micro_batches

STUDENT = "student"  # the name of the one trainee


def local_ranks(world: World) -> int:
    """Of this machine."""
    return int(os.environ.get("LOCAL_SIZE", world.size))  # which the launcher sets


def check_machine(output: Path, world: World, findings: Findings) -> None:
    """Whether this machine and the output folder are fit for a run."""
    folder = check_output_folder(output)
    findings.add(*check_versions(), check_threads(local_ranks(world), world.device), *([folder] if folder else []))


def check_settings(
    config: TrainingConfig, teacher: torch.dtype | None, quantize: Quantize, world: World, findings: Findings
) -> DeepSpeedSettings | None:
    """The DeepSpeed settings of a run, None where they cannot be used; what is found is added to `findings`.

    teacher: the dtype that its teacher runs in, if it has one. Every rank calls it.
    """
    split = findings.attempt("batch", resolve_batch, config, world.size)
    # Any batch splits over one rank, so that the rest of the file is read all the same.
    ranks = world.size if split else 1
    native = computes_bfloat16(world.device)
    settings = findings.attempt("DeepSpeed file", settle_settings, config, ranks, native, world)
    if settings and split:
        text = f"{settings.path}: ZeRO {settings.stage}, {split[1]} micro batch(es) of {split[0]} on {ranks} rank(s)"
        findings.add(Finding("ok", "DeepSpeed file", text))
    if settings:
        findings.add(*check_precision(settings, teacher, world.device))
    findings.add(*check_quantized(quantize, config.run.compile))
    return settings


@dataclass(frozen=True)
class Ready:
    """A stage that can start. facts: all that decides its result."""

    stage: Stage
    facts: Facts
    start: Start


def facts_of(stage: Stage, world: World) -> Facts:
    """All that decides a stage's result, as its checkpoints and its product record it."""
    common = training_facts(stage.config, stage.settings, stage.trainee, stage.teacher, world)
    facts: Facts = json.loads(json.dumps({**stage.decides, **common}))
    return facts


def get_ready(stage: Stage, facts: Facts, world: World, findings: Findings) -> Ready | None:
    """Check a stage and run its first micro batch on a copy; None where something was found that forbids it."""
    config, settings = stage.config, stage.settings
    parameters = sum(parameter.numel() for parameter in stage.trainee.parameters())
    if check_output_folder(stage.output) is None:
        findings.add(check_disk(config, parameters, settings))
    findings.add(check_schedule(config, stage.max_steps))
    fits = not findings.failed
    start = findings.attempt("output folder", starting_point, config, facts, world)
    recorded = start.recorded if start else {}
    if start and settings.overruled and start.first_step < stage.max_steps:
        findings.add(Finding("warn", "precision", settings.overruled))
    if start and start.here and start.there:
        if start.converts:
            findings.attempt("DeepSpeed file", check_target, settings)
        changed = on_precision(start.here, start.there)
        findings.add(*([Finding("warn", "precision", changed)] if changed else []))
    findings.attempt("kernels", check_choices, config, settings, world.device, recorded)
    if not fits:
        return None
    idle = findings.attempt("first batch", _try_first_batch, stage, world)
    if start is None or idle is None or findings.failed:
        return None
    findings.add(*(Finding("warn", "checkpoints", line) for line in start.passed_over), _on_first_batch(idle))
    return Ready(stage, facts, start)


def run_stage(stage: Stage | None, findings: Findings, world: World) -> None:
    """Train, or resume training, unless the product is there and made of the same. Every rank calls it.

    stage: None where it could not be opened. findings: of opening it. Raises ValueError on all ranks listing what any
    of them has found wrong, before the first step; `finite.NonFiniteLoss` and `stop.Stopped` later.
    """
    if not all(world.gather(stage is not None)):
        world.refuse(findings.texts("fail"))
    assert stage  # without failures there is one
    facts = facts_of(stage, world)
    # That auto settles on one machine as on the others.
    dtype = str(stage.teacher.model.dtype) if stage.teacher else None
    check_same_facts({**facts, "teacher.dtype": dtype, "steps in all": stage.max_steps}, world)
    made = findings.attempt("output folder", stage.product.is_made, facts)
    said = findings.warnings if made is False else []
    if made is False:
        world.say("\n".join([*said, *stage.about, "trying the first batch"]))
    ready = get_ready(stage, facts, world, findings) if made is False else None
    world.refuse(findings.texts("fail"))
    if made:
        world.say(f"{stage.name}: done already ({stage.product.path})")
        return
    assert ready
    check_shared(stage.output, world)
    with run_lock(stage.output, world):
        aside = world.first(lambda: take_over(ready.start, ready.stage.config.run))
        findings.add(*([Finding("warn", "checkpoints", aside)] if aside else []))
        for warning in findings.warnings:
            if warning not in said:
                world.say(warning)
        _train(ready, world)


def _train(ready: Ready, world: World) -> None:
    """Train, or resume training, to the product. The output folder is locked."""
    stage, start, facts = ready.stage, ready.start, ready.facts
    if stage.solve and start.checkpoint is None:
        stage.solve(world)
    choices = settle_choices(stage, start, stage.settings, world.size, world)
    on_cpu = updates_on_cpu(stage.settings, next(stage.trainee.parameters()).device)
    prepare_kernel(stage.config.optimizer, choices.optimizer.by, on_cpu, world)
    trainees = Trainees({STUDENT: build_engine(stage.trainee, stage.config.optimizer, stage.settings, choices)})
    if start.checkpoint:
        _load(start, trainees, world)
    best = _keeper_of_the_best(stage, trainees, start, world)
    monitor = _begin(ready, choices, world) if world.is_main else None
    run = Run(stage, trainees, {**facts, **choices.facts}, start.first_step, best, world)
    try:
        fit(run, monitor)
    finally:
        if monitor:
            _close(monitor)
    _make_product(stage, trainees, best, facts, world)
    trainees.destroy()


def _load(start: Start, trainees: Trainees, world: World) -> None:
    """Restore the trainees, and tell where the run continues on other ranks, at another ZeRO stage or precision."""
    here, there = start.here, start.there
    assert start.checkpoint and here and there  # of a run that is continued
    began = time.perf_counter()
    if start.converts:
        load_converted(start.checkpoint, trainees, there, world)
        how = f"converted in {time.perf_counter() - began:.1f} s"
    else:
        checkpoint.load(start.checkpoint, trainees)
        how = "nothing to convert"
    if start.converts or (there.ranks and there != here):
        world.say(f"continuing at {in_words(here, there)}: {how}")


def _close(monitor: Monitor) -> None:
    try:
        monitor.close()
    except OSError as error:  # which is no reason not to leave a student
        print(f"warning: the last metrics are not written: {error}", file=sys.stderr)


def _make_product(stage: Stage, trainees: Trainees, best: Best | None, facts: Facts, world: World) -> None:
    """Raises OSError where it cannot be written; what stood there is as it was."""
    try:
        stage.product.make(trainees, best, facts, world)
    except (OSError, SafetensorError) as error:
        needed = size_of(stage.trainee.student).bytes
        text = f"{stage.product.path} cannot be written: {error}. {room(needed, stage.output)}"
        raise OSError(f"{text}: free some, and the same command writes it") from error


def _try_first_batch(stage: Stage, world: World) -> list[str]:
    """Run this rank's first micro batch: the names of the weights that get no gradient."""
    config = stage.config
    _, batch = next(iter(rank_micro_batches(stage.data, 0, config.run.global_batch, stage.micro_batch, world)))
    return dry_batch(stage.trainee.to(world.device), stage.teacher, batch, stage.settings, config.section)


def _on_first_batch(idle: list[str]) -> Finding:
    """idle: names of the weights without gradient."""
    if not idle:
        return Finding("ok", "first batch", "the loss is finite, and every weight has a gradient")
    return Finding("warn", "first batch", f"the objective gives no gradient to {', '.join(idle)}")


def _keeper_of_the_best(stage: Stage, trainees: Trainees, start: Start, world: World) -> Best | None:
    if stage.best is None:
        return None

    def export(folder: Path, beside: Mapping[str, str]) -> None:
        export_student(trainees.only, folder, stage.tokenizer, world, beside)

    best = Best(stage.output / "best", stage.best, export, world)
    if start.checkpoint is None:
        world.first(best.forget)  # of a run that ended before its first checkpoint, by other options perhaps
    return best


def _begin(ready: Ready, choices: Choices, world: World) -> Monitor:
    """Say and record what is about to run. On rank 0."""
    stage, first_step = ready.stage, ready.start.first_step
    settings, batch = stage.settings, stage.config.run.global_batch
    pooler = " with pooler" if isinstance(stage.trainee.student, BertModel) else ""
    lines = [
        f"{stage.learner}: {size_as_saved(stage.trainee.student).parameters:,} parameters{pooler}, "
        f"ZeRO {settings.stage}, {world.size} rank(s) on {world.device.type}",
        f"precision: {settings.precision} ({settings.reason or 'asked for'})",
        f"steps: {first_step:,} done of {stage.max_steps:,}, global batch {batch}, micro batch {stage.micro_batch}",
        f"kernels: {choices}",
    ]
    if first_step == 0:
        lines.append(f"measuring the {stage.learner} before its first step")
    world.say("\n".join(lines))
    monitor = Monitor(stage.output, first_step, stage.max_steps, stage.name)
    if stage.recipe:
        write_config(stage.output, stage.recipe, settings, choices, world)
        monitor.text("config", config_text((stage.output / "config.yaml").read_text(encoding="utf-8")))
    return monitor
