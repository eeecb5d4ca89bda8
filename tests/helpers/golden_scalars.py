"""The scalars of the golden run (tests/scripts/golden.py), every one at every step."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.tensorboard import scalars
from tests.helpers.toys import metrics
from tests.scripts.golden import STEPS

STEP_TAGS = {
    *("loss/total", "loss/attention", "loss/hidden", "loss/embedding"),
    *(f"loss_per_layer/{kind}_{layer}" for kind in ("attention", "hidden") for layer in (0, 1)),
    *(f"optimizer/{name}" for name in ("learning_rate", "gradient_norm", "loss_scale", "overflow_count")),
    *(f"speed/{name}" for name in ("tokens_per_second", "tflops", "model_flops_utilisation")),
    *(f"time/{part}" for part in ("data", "teacher", "student", "objective", "optimizer")),
    *("windows/epoch", "windows/padding_share", "memory/peak_bytes"),
    *(["memory/resident_bytes"] if Path("/proc/self/statm").exists() else []),
}
HELD_OUT_TAGS = {f"held_out/{name}" for name in ("total", "attention", "hidden", "embedding", "probe")} | {
    "held_out/probe_through_projection"
}


def assert_scalars_are_whole(run_dir: Path) -> None:
    """Of a finished golden run: every tag, one value at each of its steps, the same ones as in metrics.jsonl."""
    found = scalars(run_dir)
    assert found.keys() == STEP_TAGS | HELD_OUT_TAGS
    rows = metrics(run_dir)
    for tag, points in found.items():
        steps = range(0, STEPS + 1, 10) if tag in HELD_OUT_TAGS else range(1, STEPS + 1)
        assert [step for step, _ in points] == list(steps), tag
        assert points == [(row["step"], pytest.approx(row[tag], rel=1e-6)) for row in rows if tag in row], tag
