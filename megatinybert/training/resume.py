"""Which checkpoint a run continues, and what must agree."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.removed import REMOVED
from megatinybert.config.schema import OpenRunConfig, TrainingConfig
from megatinybert.models.load import Teacher, fingerprint_of
from megatinybert.runtime.dist import World
from megatinybert.training import checkpoint
from megatinybert.training.choices import settled
from megatinybert.training.stage import Facts
from megatinybert.training.trainee import Trainee


def training_facts(
    config: TrainingConfig, settings: DeepSpeedSettings, trainee: Trainee, teacher: Teacher | None, world: World
) -> dict[str, Any]:
    """What makes any run the same run: a checkpoint is continued only where all of it agrees."""
    student = trainee.student.config
    facts: dict[str, Any] = {
        "run.seed": config.run.seed,
        "run.global_batch": config.run.global_batch,
        "student layers, width, heads, intermediate": [
            student.num_hidden_layers,
            student.hidden_size,
            student.num_attention_heads,
            student.intermediate_size,
        ],
        "teacher": teacher.fingerprint if teacher else None,
        "optimizer.name": config.optimizer.name,
        "ZeRO stage": settings.stage,
        "precision": settings.precision,
    }
    if trainee.frozen:
        facts["frozen weights"] = fingerprint_of(trainee.student.base_model)
    if settings.stage > 0:  # DeepSpeed splits the optimizer's state among the ranks
        facts["world size"] = world.size
    return json.loads(json.dumps(facts))


# Facts that older checkpoints do not have. What is continued has its first weights behind it.
_SINCE = ("student.init", "student.solve_tokens")


@dataclass(frozen=True)
class Start:
    """Where a run begins. checkpoint: to continue from; None: a new run. passed_over: a line about each damaged one.

    first_step: steps that are done already. recorded: the facts of the checkpoint; {} in a new run.
    """

    checkpoint: Path | None
    passed_over: list[str]
    first_step: int = 0
    recorded: Facts = field(default_factory=dict)


def find_checkpoint(run: OpenRunConfig) -> tuple[Path | None, list[str]]:
    """(the checkpoint that --run.resume means, None where there is no whole one; what is wrong with others)."""
    if run.resume in ("auto", "never"):
        return checkpoint.newest(Path(run.output_dir) / "checkpoints")
    problem = checkpoint.damage(Path(run.resume))
    return (None, [problem]) if problem else (Path(run.resume), [])


def starting_point(config: TrainingConfig, facts: Facts) -> Start:
    """Where a run of these facts begins.

    Raises ValueError where the checkpoint is damaged or of another kind of run, or --run.resume never forbids it.
    """
    resume, output = config.run.resume, config.run.output_dir
    found, passed_over = find_checkpoint(config.run)
    if resume == "never" and (found or passed_over):
        raise ValueError(
            f"--run.resume never, but {output} already holds a run: choose another --run.output_dir, "
            "or continue it with --run.resume auto"
        )
    if found is None and resume not in ("auto", "never"):
        raise ValueError(f"--run.resume {resume} is not a whole checkpoint: {passed_over[0]}")
    if found is None:
        return Start(None, passed_over)
    first_step, recorded = checkpoint.read_state(found)
    choices = {option: choice.by for option, choice in settled(config, recorded).items()}
    fixed = {option: removed.value for option, removed in REMOVED.items() if option in recorded}
    facts = {name: value for name, value in facts.items() if name in recorded or name not in _SINCE}
    checkpoint.check_facts(found, {**facts, **choices, **fixed})
    return Start(found, passed_over, first_step, recorded)
