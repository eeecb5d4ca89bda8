"""Where a run starts: what makes it the same run as before, and the checkpoint it continues from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.general import GeneralConfig
from megatinybert.config.removed import REMOVED
from megatinybert.config.schema import TrainingConfig
from megatinybert.models.load import Teacher, fingerprint_of
from megatinybert.runtime.dist import World
from megatinybert.samples.open import Samples, data_identity
from megatinybert.training import checkpoint
from megatinybert.training.choices import settled
from megatinybert.training.trainee import Trainee


def facts_of(
    config: GeneralConfig,
    settings: DeepSpeedSettings,
    trainee: Trainee,
    teacher: Teacher | None,
    windows: Samples,
    world: World,
) -> dict[str, Any]:
    """What makes a general distillation the same run: a checkpoint is continued only where all of it agrees."""
    own = {
        "corpus": data_identity(windows),
        "teacher.quantize": config.teacher.quantize,
        "data.sequence_length": config.data.sequence_length,
        "data.pair_probability": config.data.pair_probability,
        "data.position_skips": config.data.position_skips,
        "data.shuffle_block": config.data.shuffle_block,
        "objective": config.objective.model_dump(mode="json"),
    }
    if config.objective.name == "mlm":
        own["objective"] = {"name": "mlm", **config.mlm.model_dump(mode="json")}
    return own | training_facts(config, settings, trainee, teacher, world)


def training_facts(
    config: TrainingConfig, settings: DeepSpeedSettings, trainee: Trainee, teacher: Teacher | None, world: World
) -> dict[str, Any]:
    """The part of `facts_of` that every run has."""
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


def starting_point(config: TrainingConfig, facts: dict[str, Any]) -> tuple[Path | None, list[str]]:
    """(the checkpoint to continue from, None to begin anew; a line about each damaged one that is passed over).

    Raises ValueError where the checkpoint is damaged or of another kind of run, or --run.resume never forbids it.
    """
    resume, output = config.run.resume, config.run.output_dir
    passed_over: list[str] = []
    if resume in ("auto", "never"):
        start, passed_over = checkpoint.newest(Path(output) / "checkpoints")
        if resume == "never" and (start or passed_over):
            raise ValueError(
                f"--run.resume never, but {output} already holds a run: choose another --run.output_dir, "
                "or continue it with --run.resume auto"
            )
    else:
        start = Path(resume)
        problem = checkpoint.damage(start)
        if problem:
            raise ValueError(f"--run.resume {resume} is not a whole checkpoint: {problem}")
    if start:
        _, recorded = checkpoint.read_state(start)
        chosen = {option: choice.by for option, choice in settled(config, recorded).items()}
        fixed = {option: removed.value for option, removed in REMOVED.items() if option in recorded}
        checkpoint.check_facts(start, facts | chosen | fixed)
    return start, passed_over
