"""What the engine needs of any program's configuration."""

from __future__ import annotations

from typing import Protocol

from megatinybert.config.schema import OptimizerConfig, RunConfig, ScheduleConfig, StudentConfig


class TrainingConfig(Protocol):
    """What the engine needs of any configuration, to train whatever student.

    `run.max_steps`, when not None, is used in place of `run.epochs`, and `schedule.warmup_steps` in place of
    `schedule.warmup_fraction`; `load_config` refuses a user's setting both. auto_stage: ZeRO's of --deepspeed auto.
    """

    @property
    def student(self) -> StudentConfig: ...
    @property
    def optimizer(self) -> OptimizerConfig: ...
    @property
    def schedule(self) -> ScheduleConfig: ...
    @property
    def run(self) -> RunConfig: ...
    @property
    def deepspeed(self) -> str: ...
    @property
    def auto_stage(self) -> int: ...
    @property
    def section(self) -> str:
        """Of the options that are called run.global_batch, run.micro_batch and optimizer.learning_rate here."""
