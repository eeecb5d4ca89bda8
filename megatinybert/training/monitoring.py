"""The monitor of a run: begun with what is about to run, and closed at its end."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence

from transformers import BertModel

from megatinybert.models.load import size_as_saved
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import lines_of_each
from megatinybert.samples.short_rows import ShortRows
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.tensorboard_layout import config_text
from megatinybert.training.choices import Choices
from megatinybert.training.optimizers import rates_in_words
from megatinybert.training.record import write_config
from megatinybert.training.stage import Family, Stage

_SHOWN = 4  # names of machines


def begin(family: Family, first_step: int, choices: Mapping[str, Choices], world: World) -> Monitor:
    """Say and record what is about to run. On rank 0."""
    lines = lines_of_each(
        {name: _lines(stage, choices[name], first_step, world) for name, stage in family.members.items()}
    )
    if first_step == 0:
        whose = f"{family.first.learner} before its" if family.is_one else "students before their"
        lines.append(f"measuring the {whose} first step")
    world.say("\n".join(lines))
    members = {} if family.is_one else {name: stage.output for name, stage in family.members.items()}
    stage, stage_name = family.first, next(iter(family.members))
    loss_of = functools.partial(_loss_of, family)
    monitor = Monitor(family.output, first_step, stage.max_steps, stage.name, members, loss_of, stage.best)
    for name, folder in members.items():
        member = family.members[name]
        if member.recipe:
            write_config(folder, member.recipe, member.settings, choices[name], world, member.windows)
    for each in family.members.values():
        if each.begins:
            each.begins()
    if family.recipe:
        write_config(family.output, family.recipe, stage.settings, choices[stage_name], world, stage.windows)
        monitor.text("config", config_text((family.output / "config.yaml").read_text(encoding="utf-8")))
    return monitor


def _loss_of(family: Family, step: int) -> str:
    """What the loss of a step is of, where held-out losses are not: these are of whole rows, and without dropout."""
    shapes, data, done = [each.trainee.student.config for each in family.members.values()], family.first.data, step - 1
    drops = any(shape.hidden_dropout_prob or shape.attention_probs_dropout_prob for shape in shapes)
    short = isinstance(data, ShortRows) and step > 0 and data.pieces(done, family.first.length) > 1
    return f"{' with dropout' if drops else ''}{' on short rows (cut windows)' if short else ''}"


def _lines(stage: Stage, choices: Choices, first_step: int, world: World) -> list[str]:
    settings, batch = stage.settings, stage.config.run.global_batch
    pooler = " with pooler" if isinstance(stage.trainee.student, BertModel) else ""
    return [
        f"{stage.learner}: {size_as_saved(stage.trainee.student).parameters:,} parameters{pooler}, "
        f"ZeRO {settings.stage}, {counted(world.size, 'rank')} on {world.device.type}{_of(world.machines)}",
        f"precision: {settings.precision} ({settings.reason or 'asked for'})",
        f"steps: {first_step:,} done of {stage.max_steps:,}, global batch {batch}, micro batch {stage.micro_batch}",
        f"optimizer: {rates_in_words(stage.config.optimizer)}",
        f"kernels: {choices}",
    ]


def close(monitor: Monitor) -> None:
    try:
        monitor.close()
    except OSError as error:  # which is no reason not to leave a student
        print(f"warning: the last metrics are not written: {error}", file=sys.stderr)


def _of(machines: Sequence[str]) -> str:
    """machines: none, of a run on one."""
    shown = ", ".join(machines) if len(machines) <= _SHOWN else f"{len(machines)} machines"
    return f" of {shown}" if machines else ""
