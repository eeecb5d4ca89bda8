"""Whether to use torch.compile."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.training import TrainingConfig
from megatinybert.models.compiled import compiler_problem, keeping_random_state, remove_unfinished_builds
from megatinybert.models.load import Teacher
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import duration, seconds_of
from megatinybert.training.choices import COMPILE, Choice, Choices, choose_implementations, settled
from megatinybert.training.engine import trial_of, try_batch
from megatinybert.training.resume import Start
from megatinybert.training.stage import Family
from megatinybert.training.step import rank_micro_batches
from megatinybert.training.trainee import Trainee, wanted_by

# Compiling takes a minute or two the first time, so it is not tried in a run of less; and it must be this much faster.
_WORTH_SECONDS, _MARGIN = 900.0, 0.97
_REPEATS = 3


def settle_choices(
    family: Family,
    starts: Mapping[str, Start],
    settings: Mapping[str, DeepSpeedSettings],
    ranks: int,
    world: World,
) -> dict[str, Choices]:
    """All choices of a run, for each member, the same on every rank; the models are compiled where that is chosen.

    settings: those of the engines to be built. ranks: of the run, which is `world` but for an estimate of another one.
    All ranks call it, before the engines have the trainees. Compiled are all models or none, since they share the
    teacher.
    """
    stage, name = family.first, next(iter(family.members))
    config, start, micro_batch, global_batch = (
        stage.config,
        starts[name],
        stage.micro_batch,
        stage.config.run.global_batch,
    )
    choices = {
        member: choose_implementations(each.config, settings[member], starts[member].recorded)
        for member, each in family.members.items()
    }
    _, batch = next(iter(rank_micro_batches(stage.data, 0, global_batch, micro_batch, world)))
    passes = (stage.max_steps - start.first_step) * global_batch // (micro_batch * ranks)
    trainees = [each.trainee for each in family.members.values()]
    work = Work(trainees, family.teacher, batch, passes)
    choice = choose_compilation(config, settings[name], work, world, start.recorded)
    if choice.by == "always" and family.teacher:
        if COMPILE in settled(config, start.recorded):  # else they have been compiled just now
            mend_cache(world)
            world.say(f"compiling {_models(trainees)}: a minute or two the first time")
        for trainee in trainees:
            trainee.compile_passes(batch["input_ids"].shape)
        family.teacher.compile_passes(batch["input_ids"].shape, wanted_by(trainees))
    return {member: dataclasses.replace(each, compilation=choice) for member, each in choices.items()}


@dataclass(frozen=True)
class Work:
    """What a rank has to do. trainees: all that learn from one pass of the teacher. batch: a micro batch of training.
    passes: how many of them are to come.
    """

    trainees: Sequence[Trainee]
    teacher: Teacher | None
    batch: dict[str, Tensor]
    passes: int


def choose_compilation(
    config: TrainingConfig, settings: DeepSpeedSettings, work: Work, world: World, recorded: Mapping[str, Any]
) -> Choice:
    """Resolve --run.compile, to the same on every rank. All ranks call it; what they give it stays as it is.

    recorded: facts of the checkpoint that the run continues from: its choice stands, so that the bits are the same.
    `choices.check_choices` has seen to it that what is settled can be.
    """
    choice = settled(config, recorded).get(COMPILE)
    if choice:
        return choice
    problem = compiler_problem(settings.stage, world.device)
    if problem or work.teacher is None:
        return Choice("never", problem or "batches of masked tokens differ in shape")
    if work.teacher.is_partitioned:
        return Choice("never", "the teacher is partitioned over the ranks")
    trials = [trial_of(trainee, settings) for trainee in work.trainees]
    world.say("timing a forward and backward pass, to see whether torch.compile would save time in this run")
    # The first pass is slower than those to come, so a run that is short by it is short.
    for repeats in (0, _REPEATS):
        plain = _of_main(_seconds_of_pass(trials, work.teacher, work.batch, settings, repeats), world)
        if plain * work.passes < _WORTH_SECONDS and work.teacher.quantize == "none":
            about = f"in a run of about {duration(plain * work.passes)} compiling costs more than it saves"
            return Choice("never", f"{about}; --run.compile always compiles all the same")
    mend_cache(world)
    world.say(f"compiling {_models(work.trainees)}, to see whether it pays: a minute or two the first time")
    teacher, shape = Teacher(work.teacher.model), work.batch["input_ids"].shape
    failure, seconds = "", 0.0
    try:
        for trial in trials:
            trial.compile_passes(shape)
        teacher.compile_passes(shape, wanted_by(trials))
        seconds = _seconds_of_pass(trials, teacher, work.batch, settings, _REPEATS)
    except Exception as error:  # compilers fail in many ways, and the run can do without
        failure = (str(error).strip() or type(error).__name__).splitlines()[0]
    if world.count(bool(failure)):
        world.say(f"warning: torch.compile is not used, as it fails here: {failure or 'on another rank'}")
        return Choice("never", "it fails here")
    compiled = _of_main(seconds, world)
    text = f"measured: {1e3 * plain:.0f} ms a pass as written, {1e3 * compiled:.0f} ms compiled"
    return Choice("always" if compiled < _MARGIN * plain else "never", text)


def mend_cache(world: World) -> None:
    """Remove what an interrupted run has left unfinished in torch.compile's cache. All ranks call it."""
    first_here = os.environ.get("LOCAL_RANK", "0") == "0"
    removed = world.count(first_here and remove_unfinished_builds() > 0)  # a barrier: none compiles before
    if removed:
        world.say("torch.compile's cache held unfinished files of an interrupted run; they are removed")


def _seconds_of_pass(
    trials: Sequence[Trainee], teacher: Teacher, batch: dict[str, Tensor], settings: DeepSpeedSettings, repeats: int
) -> float:
    """Forward and backward: the median of the repeats, after a pass that counts only where there are none."""
    seconds, device = [], batch["input_ids"].device
    with keeping_random_state(device):
        for _ in range(1 + repeats):
            seconds.append(seconds_of(lambda: try_batch(trials, teacher, batch, settings), device))
            for trial in trials:
                trial.zero_grad()
    return statistics.median(seconds[1:] or seconds)


def _models(trainees: Sequence[Trainee]) -> str:
    return "both models" if len(trainees) == 1 else f"the teacher and {len(trainees)} students"


def _of_main(value: float, world: World) -> float:
    """The value that rank 0 has."""
    own = torch.tensor(value if world.is_main else 0.0, dtype=torch.float64, device=world.device)
    return float(world.sum(own))
