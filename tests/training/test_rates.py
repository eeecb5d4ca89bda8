"""A continued run says where its learning rate is another than in the run before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatinybert.config.load import load_config
from megatinybert.config.schema import OptimizerConfig, ScheduleConfig
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.rates import RATES, changed_rate, rate_facts
from tests.helpers.toys import recipe


def config(rate: float = 1e-3, **schedule: Any) -> Any:
    return SimpleNamespace(optimizer=OptimizerConfig(learning_rate=rate), schedule=ScheduleConfig(**schedule))


def test_a_longer_run_raises_the_rate() -> None:
    own = config(warmup_steps=0)
    recorded = {RATES: rate_facts(own, 100)}
    assert changed_rate(own, 200, recorded, 100) == (
        "after step 100 the learning rate is 0.0005, not 0 as in the checkpoint's run "
        "(steps in all (by max_steps or epochs): 100 there, 200 now)"
    )
    assert "is 0.00075, not 0.0005 " in str(changed_rate(own, 200, recorded, 50))


def test_each_option_that_differs_is_named() -> None:
    recorded = {RATES: rate_facts(config(warmup_steps=0), 100)}
    said = str(changed_rate(config(2e-3, type="constant", warmup_steps=0), 100, recorded, 50))
    assert "is 0.002, not 0.0005 " in said and "steps in all" not in said
    assert "(optimizer.learning_rate: 0.001 there, 0.002 now, schedule.type: linear there, constant now)" in said


@pytest.mark.parametrize(
    ("now", "steps", "recorded"),
    [
        (config(), 100, {RATES: rate_facts(config(), 100)}),
        (config(), 50, {RATES: rate_facts(config(), 100)}),  # nothing is left to do
        (config(), 200, {}),  # an older checkpoint
        (config(type="constant"), 90, {RATES: rate_facts(config(type="constant"), 80)}),  # the same rate
    ],
)
def test_nothing_is_said_where_nothing_changes(now: Any, steps: int, recorded: dict[str, Any]) -> None:
    assert changed_rate(now, steps, recorded, 50) is None


def test_a_run_that_is_continued_for_longer_says_so(
    world: World, toy_inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.max_steps": 2})
    distil(load_config(options), world)
    (saved,) = (tmp_path / "checkpoints").glob("step-*2")
    assert checkpoint.read_state(saved)[1][RATES]["steps in all"] == 2
    assert "learning rate is" not in capfd.readouterr().err
    distil(load_config(recipe(toy_inputs, **{"run.output_dir": tmp_path, "run.max_steps": 4})), world)
    assert "after step 2 the learning rate is " in capfd.readouterr().err
