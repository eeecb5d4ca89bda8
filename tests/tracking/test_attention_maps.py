"""Attention maps are those of the two models, of the layers and heads asked for, drawn so that they can be read."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)
from transformers import BertModel

from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import load_config
from megatinybert.models.load import Teacher
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.tracking.attention_figure import LayerMaps, draw
from megatinybert.tracking.attention_maps import MapChoice, attention_maps, choose_maps, drawing_interval
from megatinybert.tracking.figures import render
from megatinybert.training import loop
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.published_loss import batch, models
from tests.helpers.toys import bert_config, recipe
from tests.helpers.warm_python import warm_python

REQUIRED = ["--teacher.model=t", "--data.shards=s"]


def config(*options: str) -> GeneralConfig:
    return load_config([*REQUIRED, *options])


def choose(*options: str, depth: int = 4) -> MapChoice | None:
    return choose_maps(config(*options), bert_config(layers=2, heads=6), bert_config(layers=4, heads=8), depth)


def test_all_layers_and_the_first_heads_are_drawn_unless_others_are_asked_for() -> None:
    assert choose() == MapChoice([(0, 1), (1, 3)], range(4))
    assert choose("--objective.layer_map=bottom", depth=2) == MapChoice([(0, 0), (1, 1)], range(4))
    chosen = choose("--monitor.attention_layers=[1]", "--monitor.attention_heads=[5, 0]")
    assert chosen == MapChoice([(1, 3)], [5, 0])
    assert choose("--monitor.attention_interval=0", "--monitor.attention_heads=[99]") is None


def test_layers_whose_teacher_does_not_run_are_left_out_unless_they_are_asked_for() -> None:
    assert choose(depth=2) == MapChoice([(0, 1)], range(4))
    assert choose(depth=0) is None
    with pytest.raises(ValueError, match=r"layer 1 learns from the teacher's layer 3, but .* only 2 layers"):
        choose("--monitor.attention_layers=[0, 1]", depth=2)


def test_what_the_models_do_not_have_is_refused_together() -> None:
    with pytest.raises(ValueError) as caught:
        choose("--monitor.attention_layers=[0, 2]", "--monitor.attention_heads=[7]")
    layers, heads = str(caught.value).splitlines()
    assert "--monitor.attention_layers [0, 2]: the student has 2 layers" in layers and "0 .. 1" in layers
    assert "--monitor.attention_heads [7]: the student has 6 heads and the teacher 8" in heads and "0 .. 5" in heads


def test_pictures_come_with_held_out_measurements_but_not_often() -> None:
    assert drawing_interval(config().monitor, 12, 50) == drawing_interval(config().monitor, 125, 500) == 250
    assert drawing_interval(config().monitor, 300, 600) == 300
    assert drawing_interval(config().monitor, 100, 80_001) == 10_001
    assert drawing_interval(config("--monitor.attention_interval=7").monitor, 250, 80_001) == 7


class Engine:
    """Of a DeepSpeed engine, what drawing uses."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def eval(self) -> None:
        self.module.eval()

    def train(self) -> None:
        self.module.train()

    def __call__(self, *arguments: object) -> object:
        return self.module(*arguments)


@pytest.mark.parametrize("padded", [False, True])
def test_maps_are_the_models_attention(padded: bool) -> None:
    trainee, _, teacher = models("shared")
    trainee.train()
    window = {name: values[1:2] for name, values in batch(padded).items()}  # the row that padding makes shorter
    layers = [(i, trainee.objective.layer_map[i]) for i in range(trainee.student.config.num_hidden_layers)]
    heads = [2, 0]
    trainees = Trainees({"student": Engine(trainee)})  # type: ignore[dict-item]
    (found,) = attention_maps(trainees, Teacher(teacher), window, MapChoice(layers, heads)).values()
    assert trainee.training, "training goes on with dropout"
    student = trainee.student.eval()
    real = window["attention_mask"][0].bool() if padded else torch.ones_like(window["input_ids"][0]).bool()
    expected = [whole_attention(model, window) for model in (student, teacher)]
    for maps, (ours, theirs) in zip(found, layers, strict=True):
        assert (maps.student_layer, maps.teacher_layer) == (ours, theirs)
        for map_HSS, of_model, layer in (
            (maps.student_HSS, expected[0], ours),
            (maps.teacher_HSS, expected[1], theirs),
        ):
            wanted = of_model[layer][0, heads].detach().numpy()
            assert map_HSS.dtype == np.float32
            np.testing.assert_allclose(map_HSS[:, real], wanted[:, real], atol=1e-5)


def whole_attention(model: BertModel, window: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    eager = BertModel(model.config, add_pooling_layer=False).eval()
    eager.set_attn_implementation("eager")
    eager.load_state_dict(model.state_dict())
    return eager(**window, output_attentions=True).attentions


def toy_maps(size: int) -> LayerMaps:
    teacher, student = np.random.default_rng(0).dirichlet(np.ones(size), (2, 3, size)).astype(np.float32)
    student[1] = teacher[1] / 2
    return LayerMaps(1, 3, student, teacher)


def test_a_picture_has_the_teacher_above_the_student_on_one_scale() -> None:
    tokens = ["[CLS]", "$x$", "\\frac{", "中", "antidisestablishment", *(f"w{i}" for i in range(45))]
    maps = toy_maps(50)
    figure = draw(maps, [0, 5, 7], tokens, 1200)
    assert len(figure.axes) == 6
    above, below = figure.axes[:3], figure.axes[3:]
    for column, (teacher, student) in enumerate(zip(above, below, strict=True)):
        np.testing.assert_array_equal(teacher.images[0].get_array(), maps.teacher_HSS[column, :32, :32])
        np.testing.assert_array_equal(student.images[0].get_array(), maps.student_HSS[column, :32, :32])
        assert teacher.images[0].get_clim() == student.images[0].get_clim()
    assert [axes.get_title()[:6] for axes in above] == ["head 0", "head 5", "head 7"]
    assert (above[0].get_ylabel(), below[0].get_ylabel()) == ("teacher layer 3", "student layer 1")
    labels = [label.get_text() for label in above[0].get_yticklabels()]
    assert labels[:5] == ["[CLS]", "$x$", "\\frac{", "中", "antidisesta…"] and len(labels) == 32
    assert "step 1,200" in figure.texts[0].get_text() and figure.texts[1].get_text().endswith("first 32 of 50 tokens")
    numbered = draw(maps, [0], ["(0)", *tokens[1:]], 0, numbered=True)
    assert numbered.texts[1].get_text().endswith("first 32 of 50 tokens; (n): see Text")


@pytest.mark.filterwarnings("error")
def test_any_token_can_be_drawn() -> None:
    image = render(draw(toy_maps(5), [0], ["$x$", "\\frac{", "中", "_^", "$"], 0))
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert image.min() < 100 and image.max() == 255


def pictures_and_texts(run_dir: Path) -> dict[str, list[int]]:
    """{tag: steps}, as TensorBoard's server reads them."""
    events = EventAccumulator(str(run_dir / "tensorboard" / "training"))
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("maps/") or tag.endswith("/text_summary")]
    return {tag: [event.step for event in events.Tensors(tag)] for tag in tags}


def test_pictures_and_texts_are_there_once_after_a_run_was_resumed(
    toy_inputs: Path, tmp_path: Path, world: World
) -> None:
    options = recipe(
        toy_inputs,
        **{
            "run.output_dir": tmp_path,
            "run.max_steps": 5,
            "run.save_interval": 2,
            "run.keep_checkpoints": 3,
            "monitor.attention_interval": 2,
        },
    )
    layers = {f"maps/attention_layer_{layer}": [0, 2, 4, 5] for layer in (0, 1)}
    # Whole, then resumed from step 2, then from the beginning.
    for gone, texts in (("", [0]), ("step-0000000[45]", [0, 3]), ("*", [0])):
        for folder in (tmp_path / "checkpoints").glob(gone) if gone else ():
            shutil.rmtree(folder)
        distil(load_config(options), world)
        expected = layers | {f"{tag}/text_summary": texts for tag in ("config", "hardware")}
        assert pictures_and_texts(tmp_path) == expected


def test_the_first_pictures_are_announced_and_their_time_is_none_of_the_steps(
    toy_inputs: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seconds, drawing = {}, 2.0

    def draw_slowly(family: object, trainees: Trainees, step: int) -> dict[str, np.ndarray]:
        time.sleep(drawing)
        seconds[step] = trainees.seconds
        return {}

    monkeypatch.setattr(loop, "pictures_of", draw_slowly)
    overrides = {"run.output_dir": tmp_path, "run.max_steps": 3, "run.save_interval": 1, "run.keep_checkpoints": 3}
    for first in (0, 1):
        distil(load_config(recipe(toy_inputs, **overrides, **{"monitor.attention_interval": 2})), world)
        assert capfd.readouterr().err.count("drawing attention maps\n") == 1
        assert list(seconds) == [0, 2, 3][first:] and seconds[2] > 0 and seconds[3] - seconds[2] < drawing
        shutil.rmtree(tmp_path / "student")
        for step in (2, 3):
            shutil.rmtree(tmp_path / "checkpoints" / f"step-{step:08d}", ignore_errors=True)
        seconds.clear()


def test_all_ranks_gather_the_weights_that_a_picture_needs(toy_inputs: Path, tmp_path: Path) -> None:
    overrides = {"run.output_dir": tmp_path, "run.max_steps": 2, "monitor.attention_interval": 1, "deepspeed": "zero3"}
    ranks = start_ranks(2, GENERAL, recipe(toy_inputs, **overrides), tmp_path / "logs", python=warm_python())
    assert exit_codes(ranks) == [0, 0], (tmp_path / "logs" / "rank-0.log").read_text()
    found = pictures_and_texts(tmp_path)
    assert found["maps/attention_layer_0"] == found["maps/attention_layer_1"] == [0, 1, 2]
