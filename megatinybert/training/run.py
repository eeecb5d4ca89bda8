"""One training run from start to export: refused on all ranks for what any of them finds, else built and trained."""

from __future__ import annotations

import contextlib
import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from safetensors import SafetensorError

from megatinybert.config.duration import duration_seconds
from megatinybert.models.load import size_of
from megatinybert.runtime.dist import World, check_shared
from megatinybert.runtime.findings import Finding, Findings, lines_of_each
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.agreement import check_same_facts
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.choices import Choices
from megatinybert.training.compile_choice import settle_choices
from megatinybert.training.convert import load_converted
from megatinybert.training.disk import room
from megatinybert.training.engine import build_engine
from megatinybert.training.export import export_student
from megatinybert.training.lock import run_lock
from megatinybert.training.loop import Run, describe, fit
from megatinybert.training.monitoring import begin, close
from megatinybert.training.optimizers import prepare_kernel, updates_on_cpu
from megatinybert.training.placement import THREADS, in_words, on_threads
from megatinybert.training.rates import RATES, rate_facts
from megatinybert.training.ready import ReadyFamily, facts_of, get_ready
from megatinybert.training.resume import Start, take_over
from megatinybert.training.saving import Saver
from megatinybert.training.stage import STUDENT, Facts, Family, Stage
from megatinybert.training.stop import before_a_step


def run_stage(stage: Stage | None, findings: Findings, world: World) -> bool:
    """`run_family` of one student."""
    return run_family(Family.of_one(stage) if stage else None, findings, world)


def run_family(family: Family | None, findings: Findings, world: World) -> bool:
    """Train, or resume training, unless the product is there and made of the same. Every rank calls it. -> whether it
    was asked to stop when no step was left, so that nothing should follow.

    family: None where it could not be opened. findings: of opening it. Raises ValueError on all ranks listing what any
    of them has found wrong, before the first step; `finite.NonFiniteLoss` and `stop.Stopped` later.
    """
    if not all(world.gather(family is not None)):
        world.refuse(findings.texts("fail"))
    assert family  # without failures there is one
    facts = facts_of(family, world)
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
        return False
    assert ready
    check_shared(family.output, world)
    with run_lock(family.output, world):
        _take_over(ready, findings, world)
        for warning in findings.warnings:
            if warning not in said:
                world.say(warning)
        return _train(ready, world)


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


def _train(ready: ReadyFamily, world: World) -> bool:
    """Train, or resume training, to the products. The output folder is locked. Returns what `fit` does."""
    family, start = ready.family, ready.first.start
    with contextlib.ExitStack() as at_the_end:
        with before_a_step(ready.first.stage.name, start.first_step, functools.partial(_is_saved, ready)):
            run, choices = _begin(ready, world)
            monitor = begin(family, start.first_step, choices, world) if world.is_main else None
            if monitor:
                at_the_end.callback(close, monitor)
            if family.solve and start.checkpoint is None:
                _save_first(run)
            work = describe(run, monitor)
        late = fit(run, work, monitor)
    if run.best and (kept := world.first(run.best.state)):
        before = _measured_first(family.output, run.best.tag)
        world.say(_kept_in_words(run.best.tag, kept, family.first.max_steps, before))
    for name, stage in family.members.items():
        own = Trainees({STUDENT: run.trainees[name]})
        _make_product(stage, own, run.best, ready.members[name].facts, world)
    run.trainees.destroy()
    return late


def _begin(ready: ReadyFamily, world: World) -> tuple[Run, dict[str, Choices]]:
    """The students with their first weights, or those of their checkpoints, in engines; and how these compute."""
    family, start = ready.family, ready.first.start
    starts = {name: each.start for name, each in ready.members.items()}
    if family.solve and start.checkpoint is None:
        family.solve(world)
    for stage in family.members.values():
        if stage.prepare and start.first_step < stage.max_steps:
            stage.prepare(world)
    settings = {name: stage.settings for name, stage in family.members.items()}
    choices = settle_choices(family, starts, settings, world.size, world)
    trainees = Trainees({name: _build(stage, choices[name], world) for name, stage in family.members.items()})
    for line in dict.fromkeys(_load(starts[name], Trainees({STUDENT: trainees[name]}), world) for name in starts):
        if line:
            world.say(line)
    threads = {THREADS: torch.get_num_threads()} if world.device.type == "cpu" else {}
    goes_on = start.first_step < family.first.max_steps and not start.converts  # which rounds otherwise in any case
    if threads and goes_on and (line := on_threads(start.recorded, threads[THREADS])):
        world.say(line)
    best = _keeper_of_the_best(family.first, trainees, start, world)
    facts = {
        name: {
            **each.facts,
            **choices[name].facts,
            **threads,
            RATES: rate_facts(each.stage.config, each.stage.max_steps),
        }
        for name, each in ready.members.items()
    }
    world.lose_after(duration_seconds(family.first.config.run.lost_after))
    skipped = {name: each.skipped for name, each in starts.items()}
    return Run(family, trainees, facts, start.first_step, best, world, skipped), choices


def _save_first(run: Run) -> None:
    """Save weights that were solved, which may have taken long, before the first step."""
    with Saver(run.family, run.trainees, run.world, 0) as saver:
        saver.save(0, run.facts_now(), at_once=True)


def _is_saved(ready: ReadyFamily) -> bool:
    """Whether there is a checkpoint to continue from: that which the run began with, or one that it has saved."""
    return all(each.start.checkpoint or checkpoint.steps_in(each.stage.checkpoints) for each in ready.members.values())


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


def _measured_first(output: Path, tag: str) -> float | None:
    """What was measured before the first step; None where that is undefined, or the metrics do not begin there."""
    with contextlib.suppress(OSError, ValueError), (output / "metrics.jsonl").open(encoding="utf-8") as lines:
        row = json.loads(lines.readline())
        return row.get(tag) if row["step"] == 0 else None
    return None


def _kept_in_words(tag: str, kept: tuple[int, float | None, float | None], max_steps: int, before: float | None) -> str:
    """Which step's weights the product gets. kept: of `Best.state`. before: the measurement before the first step."""
    step, value, _ = kept
    score = "undefined" if value is None else f"{value:.4f}"
    line = f"kept: step {step:,} of {max_steps:,}, {tag.replace('/', ' ')} {score}"
    if before is None or value is None:
        return line
    return f"{line} (before the first step {before:.4f}{'' if value > before else ': no gain by training'})"


def _keeper_of_the_best(stage: Stage, trainees: Trainees, start: Start, world: World) -> Best | None:
    if stage.best is None:
        return None

    def export(folder: Path, beside: Mapping[str, str]) -> None:
        export_student(trainees.only, folder, stage.tokenizer, world, beside)

    best = Best(stage.output / "best", stage.best, export, world)
    if start.checkpoint is None:
        world.first(best.forget)  # of a run that ended before its first checkpoint, by other options perhaps
    return best
