"""Whether a run is fit to start: the machine, its settings, and the students with their first batch.

`check_machine` and `check_settings` look at what needs no model, `get_ready` at the whole; the doctor asks them too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.load import resolve_batch
from megatinybert.config.schema import Quantize
from megatinybert.config.training import TrainingConfig
from megatinybert.models.quantize import check_quantized
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.runtime.hardware import computes_bfloat16
from megatinybert.runtime.rendezvous import ranks_here
from megatinybert.runtime.versions import check_versions
from megatinybert.training.checks import check_precision, check_schedule, check_threads
from megatinybert.training.choices import check_choices
from megatinybert.training.convert import check_target
from megatinybert.training.disk import check_output_folder, check_room
from megatinybert.training.engine import dry_batch
from megatinybert.training.placement import on_precision
from megatinybert.training.precision import settle_settings
from megatinybert.training.rates import changed_rate
from megatinybert.training.resume import Start, starting_point, training_facts
from megatinybert.training.stage import Facts, Family, Stage, of_members
from megatinybert.training.step import rank_micro_batches


def local_ranks(world: World) -> int:
    """Of this machine."""
    return ranks_here(os.environ) or world.size


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
        batches = f"{counted(split[1], 'micro batch', 'micro batches')} of {split[0]}"
        text = f"{settings.path}: ZeRO {settings.stage}, {batches} on {counted(ranks, 'rank')}"
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


def facts_of(family: Family, world: World) -> dict[str, Facts]:
    """All that decides each member's result, as its checkpoints and its product record it."""
    return {name: _facts_of(stage, world) for name, stage in family.members.items()}


def _facts_of(stage: Stage, world: World) -> Facts:
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
    findings.add(*of_members(said))
    whole = {name: each for name, each in ready.items() if each}
    return ReadyFamily(family, whole) if len(whole) == len(ready) else None


def _check_disk(family: Family) -> Finding:
    needed = {stage.output: stage.checkpoint_bytes for stage in family.members.values()}
    return check_room(family.output, family.first.config.run, family.saves, needed)


def _get_ready(stage: Stage, facts: Facts, world: World, findings: Findings, fits: bool) -> Ready | None:
    """One member. findings: gets what concerns it. fits: whether nothing is known yet that forbids the run."""
    config, settings = stage.config, stage.settings
    findings.add(check_schedule(config, stage.max_steps))
    fits = fits and not findings.failed
    start = findings.attempt("output folder", starting_point, config, facts, world)
    recorded = start.recorded if start else {}
    if start and settings.overruled and start.first_step < stage.max_steps:
        findings.add(Finding("warn", "precision", settings.overruled))
    if start and (changed := changed_rate(config, stage.max_steps, recorded, start.first_step)):
        findings.add(Finding("warn", "learning rate", changed))
    if start and start.here and start.there:
        if start.converts:
            findings.attempt("DeepSpeed file", check_target, settings)
        other = on_precision(start.here, start.there)
        findings.add(*([Finding("warn", "precision", other)] if other else []))
    findings.attempt("kernels", check_choices, config, settings, world.device, recorded)
    if stage.teacher and stage.teacher.is_partitioned:  # which all ranks have to run, or none
        fits = not world.count(not fits or findings.failed)
    if not fits:
        return None
    idle = findings.attempt("first batch", _try_first_batch, stage, world)
    if start is None or idle is None or findings.failed:
        return None
    findings.add(*(Finding("warn", "checkpoints", line) for line in start.passed_over), _on_first_batch(idle))
    return Ready(stage, facts, start)


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
