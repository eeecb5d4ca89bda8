"""What becomes of the learning rate where a run is continued by another schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from megatinybert.config.schema import ScheduleConfig
from megatinybert.config.training import TrainingConfig
from megatinybert.training.schedule import learning_rate

if TYPE_CHECKING:  # else torch would be imported before the record of a checkpoint can be read
    from megatinybert.training.stage import Facts

RATES = "learning rates"  # a fact of checkpoints alone, which may differ
STEPS = "steps in all"  # one of them


def rate_facts(config: TrainingConfig, max_steps: int) -> dict[str, Any]:
    """All that decides the learning rate of a step, by option."""
    schedule = {f"schedule.{key}": value for key, value in config.schedule.model_dump(mode="json").items()}
    return {"optimizer.learning_rate": config.optimizer.learning_rate, **schedule, STEPS: max_steps}


def changed_rate(config: TrainingConfig, max_steps: int, recorded: Facts, step: int) -> str | None:
    """What to say where the learning rate after `step` steps is another than by the schedule of the checkpoint.

    recorded: the facts of the checkpoint. None where it is the same rate, nothing is left to do, or the checkpoint, an
    older one, recorded no schedule.
    """
    there, here = recorded.get(RATES), rate_facts(config, max_steps)
    if not there or there == here or step >= max_steps:
        return None
    schedule = ScheduleConfig(
        **{key.removeprefix("schedule."): value for key, value in there.items() if key.startswith("schedule.")}
    )
    optimizer = config.optimizer.model_copy(update={"learning_rate": there["optimizer.learning_rate"]})
    before = learning_rate(optimizer, schedule, step, there[STEPS])
    now = learning_rate(config.optimizer, config.schedule, step, max_steps)
    if before == now:
        return None
    by = {STEPS: " (by max_steps or epochs)"}
    differs = ", ".join(
        f"{key}{by.get(key, '')}: {there[key]} there, {here[key]} now" for key in here if there[key] != here[key]
    )
    return (
        f"after step {step:,} the learning rate is {now:.3g}, not {before:.3g} as in the checkpoint's run ({differs})"
    )
