"""Options of what a run does about faults, in both programs."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from megatinybert.config.duration import Duration, duration_seconds

RESTARTS = (
    "how often the run is started again after a fault, from its newest checkpoint (0: never); by sh launch/... alone"
)
LOST_AFTER = (
    "time without a sign of life, such as 60s, after which a rank in training is taken for lost and the others end;"
    " ten times as long in saves and measurements"
)
_SHORTEST_PATIENCE = 5


def _patient(text: str) -> str:
    if duration_seconds(text) < _SHORTEST_PATIENCE:
        raise ValueError(f"must be {_SHORTEST_PATIENCE} s or more: a busy machine is silent for a moment")
    return text


Patience = Annotated[Duration, AfterValidator(_patient)]


def check_restarts(restarts: int, resume: str) -> None:
    """Raise ValueError where a restart would not continue what was trained. resume: --run.resume."""
    if restarts and resume != "auto":
        raise ValueError(
            f"--run.restarts {restarts}: a restart continues from the newest checkpoint of --run.output_dir, which "
            f"--run.resume {resume} would not; take --run.resume auto, or --run.restarts 0 until the first checkpoint "
            "is written"
        )
