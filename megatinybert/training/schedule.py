"""The learning rate, a function of the step, and how often a run is measured."""

from __future__ import annotations

import math

from megatinybert.config.schema import OptimizerConfig, RunConfig, ScheduleConfig

_HELD_OUT_INTERVAL = 250


def warmup_steps(schedule: ScheduleConfig, max_steps: int) -> int:
    """Steps of warm-up in a run of `max_steps`."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    return round(schedule.warmup_fraction * max_steps)


def learning_rate(optimizer: OptimizerConfig, schedule: ScheduleConfig, step: int, max_steps: int) -> float:
    """The learning rate of step `step` (0-based).

    It rises linearly over the warm-up, never from zero, then falls to zero just beyond the last step ("linear",
    "cosine") or stays ("constant").
    """
    warmup = warmup_steps(schedule, max_steps)
    peak = optimizer.learning_rate
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.type == "constant":
        return peak
    share = (step - warmup) / max(max_steps - warmup, 1)
    return peak * (1 - share if schedule.type == "linear" else 0.5 * (1 + math.cos(math.pi * share)))


def held_out_interval(run: RunConfig, max_steps: int) -> int:
    """Steps between held-out measurements: so few by default that a short run has some between its ends."""
    return run.held_out_interval or min(_HELD_OUT_INTERVAL, max(math.ceil(max_steps / 4), 2))
