"""What a run does about faults."""

from __future__ import annotations

import pytest

from megatinybert.config.schema import RunConfig


def test_a_rank_is_given_some_seconds() -> None:
    assert RunConfig(lost_after="5").lost_after == "5"
    with pytest.raises(ValueError, match="must be 5 s or more: a busy machine is silent for a moment"):
        RunConfig(lost_after="4s")


def test_a_restart_continues_from_the_newest_checkpoint_alone() -> None:
    assert RunConfig(restarts=2).resume == "auto" and RunConfig(resume="never").restarts == 0
    with pytest.raises(ValueError, match="--run.restarts 2: a restart continues from the newest checkpoint"):
        RunConfig(restarts=2, resume="never")
