"""Which checkpoint a run continues, and what must agree."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.missing import RESUME, missing_checkpoint, never_again
from megatinybert.config.removed import REMOVED
from megatinybert.config.schema import OpenRunConfig
from megatinybert.config.training import TrainingConfig
from megatinybert.models.load import Digest, Teacher
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.which import checkpoints_of, find_checkpoint, newest_of
from megatinybert.training.choices import settled
from megatinybert.training.placement import PLACEMENT, THREADS, Placement, placement_of
from megatinybert.training.rates import RATES
from megatinybert.training.same_run import SHAPE, check_facts, deciding_options, known_to
from megatinybert.training.stage import Facts
from megatinybert.training.trainee import Trainee


def training_facts(
    config: TrainingConfig, settings: DeepSpeedSettings, trainee: Trainee, teacher: Teacher | None, world: World
) -> dict[str, Any]:
    """What makes any run the same run: a checkpoint is continued only where all of it agrees, but for PLACEMENT."""
    facts: dict[str, Any] = {
        "run.seed": config.run.seed,
        "run.global_batch": config.run.global_batch,
        **shape_facts(trainee.student.config),
        "teacher": teacher.fingerprint if teacher else None,
        "teacher checksum": teacher.checksum if teacher else None,
        "optimizer.name": config.optimizer.name,
        "world size": world.size,
        "ZeRO stage": settings.stage,
        "precision": settings.precision,
    }
    if trainee.objective.fixed:
        facts["objective.train_projection"] = False
    if trainee.frozen:
        frozen = Digest.of(trainee.student.base_model)
        facts |= {"frozen weights": frozen.fingerprint, "frozen weights checksum": frozen.checksum}
    return json.loads(json.dumps(facts))


def shape_facts(student: PreTrainedConfig) -> Facts:
    """Those of them that a student's configuration decides."""
    shape = student.num_hidden_layers, student.hidden_size, student.num_attention_heads, student.intermediate_size
    return {SHAPE: list(shape)}


_SKIPPED = "skipped batches"  # a fact of checkpoints alone: the steps whose batch was left out, as it was not finite


def with_skipped(facts: Facts, steps: list[int]) -> Facts:
    """What a checkpoint records of a run that has left out the batches of these steps."""
    return {**facts, _SKIPPED: list(steps)} if steps else facts


@dataclass(frozen=True)
class Start:
    """Where a run begins. checkpoint: to continue from; None: a new run. passed_over: a line about each damaged one.

    first_step: steps that are done already. recorded: the facts of the checkpoint; {} in a new run. newest: the newest
    checkpoint of the output folder when this was settled. here, there: where the run computes, and where the
    checkpoint's run did; None in a new run.
    """

    checkpoint: Path | None
    passed_over: list[str]
    first_step: int = 0
    recorded: Facts = field(default_factory=dict)
    newest: Path | None = None
    here: Placement | None = None
    there: Placement | None = None

    @property
    def converts(self) -> bool:
        """Whether the checkpoint's files are for other ranks, another ZeRO stage or precision (`convert`)."""
        return self.here is not None and self.there is not None and not self.here.reads(self.there)

    @property
    def skipped(self) -> list[int]:
        """The steps whose batch was left out so far."""
        return list(self.recorded.get(_SKIPPED, []))


def starting_point(config: TrainingConfig, facts: Facts, world: World) -> Start:
    """Where a run of these facts begins. Every rank calls it; rank 0 looks at the files.

    Raises ValueError where the checkpoint is damaged or of another kind of run, where there are checkpoints and none is
    whole, or where --run.resume never forbids it.
    """
    resume, output = config.run.resume, config.run.output_dir
    (found, passed_over), newest = world.first(lambda: (find_checkpoint(config.run), newest_of(config.run)))
    if resume == "never" and (found or passed_over):
        raise ValueError(never_again(output))
    if resume not in RESUME and (missing := missing_checkpoint(resume)):
        raise ValueError(missing)
    if found is None and resume not in RESUME:
        raise ValueError(f"--run.resume {resume} is not a whole checkpoint: {passed_over[0]}")
    if found is None and passed_over:
        raise ValueError(
            f"{output} holds checkpoints, but no whole one:\n  " + "\n  ".join(passed_over) + "\n"
            f"to start anew, remove {checkpoints_of(config.run)} or choose another --run.output_dir; to continue, name "
            "another checkpoint with --run.resume"
        )
    if found is None:
        return Start(None, passed_over, newest=newest)
    first_step, recorded = checkpoint.read_state(found)
    choices = {option: choice.by for option, choice in settled(config, recorded).items()}
    fixed = {option: removed.value for option, removed in REMOVED.items() if option in recorded}
    start = Start(found, passed_over, first_step, recorded, newest, placement_of(facts), placement_of(recorded))
    # A converted one rounds otherwise in any case, and what an option of another stage excludes can be left out.
    free = {*PLACEMENT, THREADS, _SKIPPED, RATES, *(choices if start.converts else ())}
    if config.deepspeed == "auto":  # another precision has to be asked for by a file
        free.discard("precision")
    now = {**known_to(recorded, facts), **choices, **fixed}
    check_facts(found, recorded, now, free, deciding_options(config.section))
    return start


def take_over(start: Start, run: OpenRunConfig) -> str | None:
    """Set aside what the output folder holds of later steps than the run starts from (`checkpoint.set_aside`).

    One rank calls it, with the folder locked. Raises ValueError where another run has written there meanwhile.
    """
    if newest_of(run) != start.newest:
        raise ValueError(f"--run.output_dir {run.output_dir}: another run has just written there; start again")
    return checkpoint.set_aside(Path(run.output_dir), start.first_step)
