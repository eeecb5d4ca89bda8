"""What a person watches is all there, once for every logged step: TensorBoard, metrics.jsonl and config.yaml."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from tensorboard.summary.writer.record_writer import RecordWriter
from tqdm import tqdm

from megatinybert.config.load import load_config
from megatinybert.objectives.base import Term
from megatinybert.tracking.flops import forward_flops, training_flops
from megatinybert.tracking.measurements import place_of
from megatinybert.tracking.monitor import Monitor
from megatinybert.tracking.tensorboard_layout import layout
from megatinybert.training.loop import padding_share
from tests.helpers.golden_scalars import assert_scalars_are_whole
from tests.helpers.tensorboard import first_page, scalars, tensorboard
from tests.helpers.toys import bert_config, metrics
from tests.scripts.golden import STEPS

WINDOWS, LENGTH = 48, 16  # of a step of the golden run


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
        assert row["optimizer/overflow_count"] == row["windows/padding_share"] == 0
        assert row["memory/peak_bytes"] >= row.get("memory/resident_bytes", 0) * 0.5 > 1e7


def test_time_and_operations_of_a_step_are_consistent_with_its_speed(golden_run: Path) -> None:
    rows = metrics(golden_run)[1:]
    seconds = [WINDOWS * LENGTH / row["speed/tokens_per_second"] for row in rows]
    parts = [sum(value for tag, value in row.items() if tag.startswith("time/")) for row in rows]
    assert all(0 < part < whole for part, whole in zip(parts, seconds, strict=True))
    assert sum(parts) > 0.8 * sum(seconds)
    student, teacher = bert_config(layers=2, hidden=12), bert_config(layers=4)
    flops = forward_flops(teacher, 4, WINDOWS, LENGTH) + training_flops(student, WINDOWS, LENGTH)
    peaks = set()
    for row, whole in zip(rows, seconds, strict=True):
        assert row["speed/tflops"] * whole * 1e12 == pytest.approx(flops)
        assert 0 < row["speed/model_flops_utilisation"] < 1
        peaks.add(float(f"{row['speed/tflops'] / row['speed/model_flops_utilisation']:.6g}"))
    assert len(peaks) == 1, "in one precision, the two differ by the peak"


def test_the_epoch_goes_on(golden_run: Path) -> None:
    epochs = [row["windows/epoch"] for row in metrics(golden_run)[1:]]
    assert np.diff(epochs) == pytest.approx([epochs[0]] * (STEPS - 1)) and 0 < epochs[0] < 1


def test_the_first_page_shows_every_curve_of_a_run(golden_run: Path) -> None:
    curves, shown = first_page(golden_run)
    assert set(curves) - {curve for found in shown.values() for curve in found} == {("training", "speed/tflops")}
    assert all(shown.values())
    first, *_ = shown
    assert first[1] == "total" and shown[first] == [("held_out", "loss/total"), ("training", "loss/total")]
    layers = shown["loss of each layer", "attention"]
    assert layers == [(f"layer_{layer}", "loss_per_layer/attention") for layer in (0, 1)]


def test_of_several_students_every_curve_has_its_name() -> None:
    terms = [Term("attention_0", "attention", 1.0), Term("embedding", "embedding", 1.0)]
    page = layout({"small": terms, "large": terms[1:]}, ["held_out/probe"])
    losses = page["losses in training and held out, measurements"]
    assert list(losses) == ["total", "attention", "embedding", "probe"]
    assert losses["total"] == ["small/loss/total$", "large/loss/total$"]
    assert page["loss of each layer"] == {"attention": ["small/loss_per_layer/attention$"]}
    for tag, run, written in (
        ("small/loss_per_layer/attention_10", "layer_10", "small/loss_per_layer/attention"),
        ("time/teacher", "time_teacher", "time/step"),
        ("small/held_out/total", "held_out", "small/loss/total"),
        ("held_out/probe", "held_out", "held_out/probe"),
        ("held_out/probe_through_projection", "through_projection", "held_out/probe"),
    ):
        place = place_of(tag)
        assert (place.run, place.tag) == (run, written)


def test_the_configuration_and_the_hardware_can_be_read_in_tensorboard(golden_run: Path) -> None:
    texts = {}
    for tag in ("config", "hardware"):
        (event,) = tensorboard(golden_run)["training"].Tensors(f"{tag}/text_summary")
        texts[tag] = event.tensor_proto.string_val[0].decode()
    assert texts["config"] == f"```yaml\n{(golden_run / 'config.yaml').read_text().rstrip()}\n```"
    assert "1 rank on cpu" in texts["hardware"] and "fp32 (measured" in texts["hardware"]


def test_share_of_padding() -> None:
    ids = torch.zeros(2, 4, dtype=torch.long)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    assert padding_share({"input_ids": ids}) == 0.0
    assert float(padding_share({"input_ids": ids, "attention_mask": mask})) == pytest.approx(3 / 8)


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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's thread
def test_tensorboard_goes_on_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = Monitor(tmp_path, 0, 4)
    monitor.log(1, {"loss/total": 1.0})
    with monkeypatch.context() as full:
        full.setattr(RecordWriter, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        for step in (2, 3):
            with pytest.raises(OSError, match="No space left"):
                monitor.log(step, {"loss/total": 1.0})
    monitor.log(4, {"loss/total": 4.0})
    monitor.close()
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]
    assert scalars(tmp_path)["loss/total"] == [(1, 1.0), (4, 4.0)]


def test_what_is_not_finite_is_null_in_metrics_and_itself_in_tensorboard(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 0, 4)
    monitor.log(1, {"optimizer/gradient_norm": math.inf, "held_out/probe": math.nan, "loss/total": 2.0})
    monitor.close()

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    row = json.loads(line, parse_constant=refuse)
    assert row == {"step": 1, "optimizer/gradient_norm": None, "held_out/probe": None, "loss/total": 2.0}
    found = {tag: value for tag, ((_, value),) in scalars(tmp_path).items()}
    assert found["optimizer/gradient_norm"] == math.inf and math.isnan(found["held_out/probe"])


@pytest.mark.parametrize("first_step", [0, 900])
def test_the_bar_tells_the_time_left_after_a_few_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_step: int
) -> None:
    now = 0.0
    bars: list[tqdm] = []

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._time = lambda: now
            self.start_t = self.last_print_t = now
            bars.append(self)

    monkeypatch.setattr("megatinybert.runtime.progress_bar._LogBar", Bar)
    monitor = Monitor(tmp_path, first_step, 1000)
    now += 60  # a measurement before the first step
    for seconds in (25, 2, 2, 2, 2):  # the first step is slow
        now += seconds
        monitor.advance()
    found = bars[0].format_dict
    monitor.close()
    rate = (found["n"] - found["initial"]) / found["elapsed"]
    assert found["rate"] is None, "the mean of all steps is shown"
    assert found["n"] == first_step + 5 and 1 / rate == pytest.approx(2.0)


def test_the_bar_says_what_a_loss_is_of(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    monitor = Monitor(
        tmp_path, 0, 9, members={"a": tmp_path / "a"}, loss_of=lambda step: " on short rows" * (step == 2)
    )
    for step, of in ((1, ""), (2, " on short rows")):
        monitor.log(step, {"loss/total": 1.0, "held_out/total": 2.0, "a/loss/total": 3.0})
        assert monitor._bar.postfix == f"loss{of} 1.0000, held-out 2.0000, loss of a{of} 3.0000"
    monitor.close()


def test_the_bar_shows_the_newest_held_out_loss_and_the_score_that_chooses(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, 0, 9, best="dev_matched/score")
    shown = []
    for step, score in enumerate((0.25, None, 0.75)):
        measured = {"held_out/total": 2.0 - score, "dev_matched/score": score, "dev/f1": 0.1} if score else {}
        monitor.log(step, {**measured, "loss/total": 1.0})
        shown.append(monitor._bar.postfix)
    monitor.close()
    assert shown == [
        "loss 1.0000, held-out 1.7500, dev_matched score 0.2500",
        "loss 1.0000, held-out 1.7500, dev_matched score 0.2500 (step 0)",
        "loss 1.0000, held-out 1.2500, dev_matched score 0.7500",
    ]


def test_each_of_several_students_has_metrics_of_its_own(tmp_path: Path) -> None:
    """With its own scalars as a run of its own has them, and what is common; what a killed run left is dropped."""
    folders = {name: tmp_path / name for name in ("a", "ab")}
    for folder in folders.values():
        folder.mkdir()
    scalars_of_step = {"a/loss/total": 1.0, "ab/loss/total": 2.0, "speed/tokens_per_second": 7.0}
    monitor = Monitor(tmp_path, 0, 9, members=folders)
    monitor.log(1, scalars_of_step)
    monitor.log(2, scalars_of_step)
    monitor.close()
    Monitor(tmp_path, 1, 9, members=folders).close()  # continues after step 1
    assert metrics(tmp_path) == [{"step": 1, **scalars_of_step}]
    for name, loss in (("a", 1.0), ("ab", 2.0)):
        assert metrics(folders[name]) == [{"step": 1, "loss/total": loss, "speed/tokens_per_second": 7.0}]
