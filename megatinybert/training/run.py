"""One training run from start to export.

`check_machine` and `check_settings` look at what needs no model, `get_ready` at the whole; the doctor asks them too.
`run_stage` refuses on all ranks what any of them has found, then builds, loads, trains and exports.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from safetensors import SafetensorError

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.load import resolve_batch
from megatinybert.config.schema import Quantize, TrainingConfig
from megatinybert.models.load import size_of
from megatinybert.models.quantize import check_quantized
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.findings import Finding, Findings, lines_of_each, of_each
from megatinybert.runtime.hardware import computes_bfloat16
from megatinybert.runtime.trainees import Trainees
from megatinybert.runtime.versions import check_versions
from megatinybert.training import checkpoint
from megatinybert.training.agreement import check_same_facts
from megatinybert.training.checkpoint import Best
from megatinybert.training.checks import check_precision, check_schedule, check_threads
from megatinybert.training.choices import Choices, check_choices
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.convert import check_target, load_converted
from megatinybert.training.disk import check_output_folder, check_room, checkpoint_bytes, room
from megatinybert.training.engine import build_engine, dry_batch
from megatinybert.training.export import export_student
from megatinybert.training.lock import run_lock
from megatinybert.training.loop import Run, fit
from megatinybert.training.monitoring import begin, close
from megatinybert.training.optimizers import prepare_kernel, updates_on_cpu
from megatinybert.training.placement import in_words, on_precision
from megatinybert.training.precision import settle_settings
from megatinybert.training.resume import Start, starting_point, take_over, training_facts
from megatinybert.training.stage import STUDENT, Facts, Family, Stage
from megatinybert.training.step import rank_micro_batches


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


@dataclass(frozen=True)
class ReadyFamily:
    """The students of a run that can start, all at the same step."""

    family: Family
    members: Mapping[str, Ready]

    @property
    def first(self) -> Ready:
        """Any of them, for what is the same in all."""
        return next(iter(self.members.values()))


def facts_of(stage: Stage, world: World) -> Facts:
    """All that decides a stage's result, as its checkpoints and its product record it."""
    common = training_facts(stage.config, stage.settings, stage.trainee, stage.teacher, world)
    facts: Facts = json.loads(json.dumps({**stage.decides, **common}))
    return facts


def get_ready(family: Family, facts: Mapping[str, Facts], world: World, findings: Findings) -> ReadyFamily | None:
    """Check the members and run the first micro batch on copies of them; None where something was found that forbids
    the run. facts: of each member.
    """
    if check_output_folder(family.output) is None:
        findings.add(_check_disk(family))
    said = {family.places[name]: Findings() for name in family.members}
    ready = {
        name: _get_ready(stage, facts[name], world, said[family.places[name]], not findings.failed)
        for name, stage in family.members.items()
    }
    findings.add(*of_each(said))
    whole = {name: each for name, each in ready.items() if each}
    return ReadyFamily(family, whole) if len(whole) == len(ready) else None


def _check_disk(family: Family) -> Finding:
    needed = {
        stage.output: checkpoint_bytes(stage.parameters, stage.settings, stage.config.optimizer.name)
        for stage in family.members.values()
    }
    return check_room(family.output, family.first.config.run.keep_checkpoints, needed)


def _get_ready(stage: Stage, facts: Facts, world: World, findings: Findings, fits: bool) -> Ready | None:
    """One member. findings: gets what concerns it. fits: whether nothing is known yet that forbids the run."""
    config, settings = stage.config, stage.settings
    findings.add(check_schedule(config, stage.max_steps))
    fits = fits and not findings.failed
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
    """`run_family` of one student."""
    run_family(Family.of_one(stage) if stage else None, findings, world)


def run_family(family: Family | None, findings: Findings, world: World) -> None:
    """Train, or resume training, unless the product is there and made of the same. Every rank calls it.

    family: None where it could not be opened. findings: of opening it. Raises ValueError on all ranks listing what any
    of them has found wrong, before the first step; `finite.NonFiniteLoss` and `stop.Stopped` later.
    """
    if not all(world.gather(family is not None)):
        world.refuse(findings.texts("fail"))
    assert family  # without failures there is one
    facts = {name: facts_of(stage, world) for name, stage in family.members.items()}
    check_same_facts(_to_compare(family, facts), world)
    made = findings.attempt("output folder", _is_made, family, facts)
    said = findings.warnings if made is False else []
    if made is False:
        about = lines_of_each({name: stage.about for name, stage in family.members.items()})
        world.say("\n".join([*said, *about, "trying the first batch"]))
    ready = get_ready(family, facts, world, findings) if made is False else None
    world.refuse(findings.texts("fail"))
    if made:
        world.say(f"{family.first.name}: done already ({family.first.product.path})")
        return
    assert ready
    check_shared(family.output, world)
    with run_lock(family.output, world):
        _take_over(ready, findings, world)
        for warning in findings.warnings:
            if warning not in said:
                world.say(warning)
        _train(ready, world)


def _to_compare(family: Family, facts: Mapping[str, Facts]) -> dict[str, object]:
    """What all ranks are to have alike: with the facts of each student, what `auto` settles on each machine."""
    stage = family.first
    found: dict[str, object] = {
        key if family.is_one else f"{family.places[name]}: {key}": value
        for name, own in facts.items()
        for key, value in own.items()
    }
    dtype = str(stage.teacher.model.dtype) if stage.teacher else None
    return {**found, "teacher.dtype": dtype, "steps in all": stage.max_steps}


def _is_made(family: Family, facts: Mapping[str, Facts]) -> bool:
    return all(stage.product.is_made(facts[name]) for name, stage in family.members.items())


def _take_over(ready: ReadyFamily, findings: Findings, world: World) -> None:
    for each in ready.members.values():
        if not ready.family.is_one:
            check_shared(each.stage.output, world)
        aside = world.first(functools.partial(take_over, each.start, each.stage.config.run))
        if aside:
            findings.add(Finding("warn", "checkpoints", aside))


def _train(ready: ReadyFamily, world: World) -> None:
    """Train, or resume training, to the products. The output folder is locked."""
    family, start = ready.family, ready.first.start
    starts = {name: each.start for name, each in ready.members.items()}
    if family.solve and start.checkpoint is None:
        family.solve(world)
    settings = {name: stage.settings for name, stage in family.members.items()}
    choices = settle_choices(family, starts, settings, world.size, world)
    trainees = Trainees({name: _build(stage, choices[name], world) for name, stage in family.members.items()})
    for line in dict.fromkeys(_load(starts[name], Trainees({STUDENT: trainees[name]}), world) for name in starts):
        if line:
            world.say(line)
    best = _keeper_of_the_best(family.first, trainees, start, world)
    monitor = begin(family, start.first_step, choices, world) if world.is_main else None
    facts = {name: {**each.facts, **choices[name].facts} for name, each in ready.members.items()}
    run = Run(family, trainees, facts, start.first_step, best, world)
    try:
        fit(run, monitor)
    finally:
        if monitor:
            close(monitor)
    for name, stage in family.members.items():
        _make_product(stage, Trainees({STUDENT: trainees[name]}), best, ready.members[name].facts, world)
    trainees.destroy()


def _load(start: Start, trainees: Trainees, world: World) -> str | None:
    """Restore a trainee: what to tell where the run continues on other ranks, at another ZeRO stage or precision."""
    if start.checkpoint is None:
        return None
    here, there = start.here, start.there
    assert here and there  # of a run that is continued
    began = time.perf_counter()
    if start.converts:
        load_converted(start.checkpoint, trainees, there, world)
        how = f"converted in {time.perf_counter() - began:.1f} s"
    else:
        checkpoint.load(start.checkpoint, trainees)
        how = "nothing to convert"
    changed = start.converts or (there.ranks and there != here)
    return f"continuing at {in_words(here, there)}: {how}" if changed else None


def _build(stage: Stage, choices: Choices, world: World) -> DeepSpeedEngine:
    on_cpu = updates_on_cpu(stage.settings, next(stage.trainee.parameters()).device)
    prepare_kernel(stage.config.optimizer, choices.optimizer.by, on_cpu, world)
    return build_engine(stage.trainee, stage.config.optimizer, stage.settings, choices)


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
