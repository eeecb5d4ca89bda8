"""What a person watches is all there, once for every logged step: TensorBoard, metrics.jsonl and config.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from megatinybert.config import load_config
from megatinybert.monitor import Monitor
from tests.scripts.golden import STEPS
from tests.toys import metrics

STEP_TAGS = {
    *("loss/total", "loss/attention", "loss/hidden", "loss/embedding"),
    *(f"loss_per_layer/{kind}_{layer}" for kind in ("attention", "hidden") for layer in (0, 1)),
    *("optimizer/learning_rate", "optimizer/gradient_norm", "optimizer/loss_scale"),
    *("speed/tokens_per_second", "memory/peak_bytes"),
}
HELD_OUT_TAGS = {f"held_out/{name}" for name in ("total", "attention", "hidden", "embedding", "probe")}


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """{tag: [(step, value), ...]} as TensorBoard reads it."""
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_scalars_are_whole(run_dir: Path) -> None:
    """Of a finished golden run: every tag, one value at each of its steps, the same ones as in metrics.jsonl."""
    found = scalars(run_dir)
    assert found.keys() == STEP_TAGS | HELD_OUT_TAGS
    rows = metrics(run_dir)
    for tag, points in found.items():
        steps = range(0, STEPS + 1, 10) if tag in HELD_OUT_TAGS else range(1, STEPS + 1)
        assert [step for step, _ in points] == list(steps), tag
        assert points == [(row["step"], pytest.approx(row[tag], rel=1e-6)) for row in rows if tag in row], tag


def test_tensorboard_holds_every_scalar_of_every_step(golden_run: Path) -> None:
    assert_scalars_are_whole(golden_run)


def test_terms_add_up(golden_run: Path) -> None:
    for row in metrics(golden_run)[1:]:
        for kind in ("attention", "hidden"):
            assert row[f"loss/{kind}"] == pytest.approx(sum(row[f"loss_per_layer/{kind}_{i}"] for i in (0, 1)))
        assert row["loss/total"] == pytest.approx(
            sum(row[f"loss/{kind}"] for kind in ("attention", "hidden", "embedding"))
        )
        assert row["optimizer/gradient_norm"] > 0
        assert row["optimizer/loss_scale"] == 1
        assert row["memory/peak_bytes"] > 1e7


def test_the_written_configuration_is_a_recipe_for_the_same_run(golden_run: Path, tmp_path: Path) -> None:
    written = yaml.safe_load((golden_run / "config.yaml").read_text())
    environment = written.pop("environment")
    assert environment["world_size"] == 1 and environment["device"] == "cpu" and environment["torch"]
    assert environment["deepspeed_config"]["train_batch_size"] == 48
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(written))
    config = load_config(["--config", str(recipe)])
    assert config.run.output_dir == str(golden_run) and config.run.max_steps == STEPS


def test_a_monitor_drops_what_an_interrupted_run_logged_beyond_its_checkpoint(tmp_path: Path) -> None:
    first = Monitor(tmp_path, 0, 4)
    for step in range(4):
        first.log(step, {"loss/total": float(step)})
    first.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss/to')  # cut short by a kill
    second = Monitor(tmp_path, 2, 4)
    for step in (3, 4):
        second.log(step, {"loss/total": 10.0 + step})
    second.close()
    expected = [(0, 0.0), (1, 1.0), (2, 2.0), (3, 13.0), (4, 14.0)]
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss/total"]) for row in rows] == expected
    assert scalars(tmp_path)["loss/total"] == expected


def test_a_monitor_of_a_run_begun_anew_drops_everything(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        monitor = Monitor(tmp_path, 0, 4)
        monitor.log(0, {"held_out/total": value})
        monitor.close()
    assert metrics(tmp_path) == [{"step": 0, "held_out/total": 2.0}]
    assert scalars(tmp_path) == {"held_out/total": [(0, 2.0)]}
