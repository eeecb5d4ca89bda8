"""Every scalar that real runs log is described, and every chart of TensorBoard's first page has a curve."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from megatinybert.config.load import load_config
from megatinybert.objectives.base import Term
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.tasks.metrics import METRICS
from megatinybert.tracking.measurements import EVERY, LOSSES, MASKED, MEASUREMENTS, Place, describe, place_of
from megatinybert.tracking.tensorboard_layout import layout
from tests.helpers.pages import README
from tests.helpers.tensorboard import first_page, tensorboard
from tests.helpers.toys import metrics
from tests.scripts.measurement_tables import DOCS, TABLES, between_markers

STAGES = ("teacher", "mlm", "one", "two")


@pytest.fixture(scope="module")
def mlm_run(world: World, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a short general run of masked-language modelling."""
    folder = tmp_path_factory.mktemp("mlm")
    recipe = {
        "objective": {"name": "mlm"},
        "teacher": {"tokenizer": str(toy_inputs / "teacher")},
        "student": {"config": str(toy_inputs / "shape")},
        "data": {"shards": str(toy_inputs / "corpus"), "sequence_length": 16, "held_out_windows": 12},
        "run": {"output_dir": str(folder / "run"), "global_batch": 8, "micro_batch": 4, "max_steps": 2},
        "deepspeed": "zero1",
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    distil(load_config(["--config", str(folder / "recipe.yaml")]), world)
    return folder / "run"


@pytest.fixture(scope="module")
def runs(golden_run: Path, mlm_run: Path, done_task: Path) -> dict[str, Path]:
    return {
        "distillation": golden_run,
        "mlm": mlm_run,
        **{f"stage {name}": done_task / "stages" / name for name in STAGES},
    }


def test_every_logged_tag_is_described(runs: dict[str, Path]) -> None:
    for name, run in runs.items():
        tags = {tag for row in metrics(run) for tag in row} - {"step"}
        assert len(tags) > 20
        assert [tag for tag in tags if describe(tag) is None] == [], name
        expected = {
            each.tag for each in MEASUREMENTS if each.logged_by == EVERY and each.tag != "memory/resident_bytes"
        }
        assert expected <= tags, name


def test_every_chart_has_a_curve_and_every_curve_a_chart(runs: dict[str, Path]) -> None:
    for name, run in runs.items():
        curves, charts = first_page(run)
        assert [chart for chart, found in charts.items() if not found] == [], name
        shown = {curve for found in charts.values() for curve in found}
        of_masked = {("training", MASKED)} if "mlm" in name else set()
        assert set(curves) - shown == {("training", "speed/tflops"), *of_masked}, name


def test_the_accuracy_of_masked_tokens_is_in_its_chart(mlm_run: Path) -> None:
    charts = first_page(mlm_run)[1]
    assert charts[LOSSES, "accuracy"] == [("held_out", "held_out/accuracy")]
    drawn = {event.step: event.value for event in tensorboard(mlm_run)["held_out"].Scalars("held_out/accuracy")}
    logged = {row["step"]: row["held_out/accuracy"] for row in metrics(mlm_run) if "held_out/accuracy" in row}
    assert drawn == pytest.approx(logged) and list(drawn) == [0, 2]


def test_the_metrics_of_every_split_of_a_task_are_in_one_chart() -> None:
    measured = [f"{split}/{name}" for split in ("dev_matched", "dev_mismatched") for name in (*METRICS, "score")]
    charts = layout({"student": [Term("label", "label", 1.0)]}, measured)[LOSSES]
    for name in (*METRICS, "score"):
        assert charts[name] == [f"dev_matched/{name}$", f"dev_mismatched/{name}$"]


@pytest.mark.parametrize(
    ("tag", "place"),
    [
        ("loss/own", Place("training", "loss/own", LOSSES, "own")),
        ("held_out/own", Place("held_out", "loss/own", LOSSES, "own")),
        ("large/held_out/accuracy", Place("held_out", "large/held_out/accuracy", LOSSES, "accuracy")),
        ("large/dev/f1", Place("held_out", "large/dev/f1", LOSSES, "f1")),
        ("loss_per_layer/own_1_2", Place("layer_2", "loss_per_layer/own_1", "loss of each layer", "own_1")),
        ("speed/unheard_of", Place("training", "speed/unheard_of")),
        ("dev/unheard_of", Place("training", "dev/unheard_of")),
    ],
)
def test_places(tag: str, place: Place) -> None:
    assert place_of(tag) == place


def test_every_tag_and_run_of_tensorboard_that_a_page_names_is_there() -> None:
    groups = {each.tag.partition("/")[0] for each in MEASUREMENTS} - {"{split}"} | {"dev"}
    page_tags = {
        (page.name, found[0])
        for page in (*DOCS.glob("*.md"), README)
        for found in re.findall(rf"`((\w+/)?({'|'.join(sorted(groups))})/[\w{{}}]+)`", page.read_text(encoding="utf-8"))
    }
    assert len(page_tags) > 40
    places = [place_of(each.tag.format(i=0, term="own", split="dev")) for each in MEASUREMENTS]
    known = {place.tag for place in places}
    unknown = {each for each in page_tags if each[1] not in known and describe(each[1].replace("{i}", "0")) is None}
    assert not unknown
    monitor = (DOCS / "monitor.md").read_text()
    listed = next(text for text in monitor.split("\n\n") if "shows one run as several" in text)
    assert set(re.findall(r"`(\w+)`", listed)) <= {place.run for place in places}


def test_the_tables_of_the_pages_are_made_from_the_descriptions() -> None:
    for (name, part), table in TABLES.items():
        page = (DOCS / name).read_text(encoding="utf-8")
        assert between_markers(page, part, table()) == page, "run: python -m tests.scripts.measurement_tables"
