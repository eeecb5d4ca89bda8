"""`--deepspeed auto`: bf16 autocast where every rank's device computes it natively; a continued run stays as it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from megatinybert.config.load import load_config
from megatinybert.config.shipped import REPOSITORY
from megatinybert.models.load import teacher_dtype
from megatinybert.programs.distil import distil, look
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.runtime.hardware import computes_bfloat16
from megatinybert.task import read_arguments
from megatinybert.tasks.inputs import open_inputs
from megatinybert.tasks.stage_options import StageTraining, stage_folder, training_of
from megatinybert.training.checkpoints.checkpoint import newest, read_state
from megatinybert.training.checks import check_precision
from megatinybert.training.precision import settle_settings
from tests.helpers import task_toys
from tests.helpers.processes import exit_codes, start_ranks
from tests.helpers.toys import recipe
from tests.helpers.warm_python import warm_python

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
PRECISIONS = ("fp32", "bf16-autocast")  # of the two files
NATIVE = computes_bfloat16(CPU)


def general(inputs: Path, folder: Path, deepspeed: str = "auto", **more: Any) -> list[str]:
    return recipe(inputs, **{"run.output_dir": folder, "deepspeed": deepspeed, **more})


def stage(inputs: Path, folder: Path) -> StageTraining:
    _, config = read_arguments(["two", *task_toys.options(inputs, "singles", folder, deepspeed="auto")])
    return training_of(config, "two", folder, max_steps=1)


def recorded(folder: Path) -> str:
    """The precision of the newest checkpoint of a run."""
    checkpoint, _ = newest(folder / "checkpoints")
    assert checkpoint
    precision: str = read_state(checkpoint)[1]["precision"]
    return precision


@pytest.mark.parametrize("native", [False, True])
def test_the_choice_of_general_distillation(native: bool, toy_inputs: Path, tmp_path: Path) -> None:
    settings = settle_settings(load_config(general(toy_inputs, tmp_path)), 1, native, ALONE)
    assert (settings.stage, settings.precision) == (1, PRECISIONS[native])
    assert settings.path == REPOSITORY / "ds_configs" / ("zero1-autocast.json" if native else "zero1.json")
    reasons = ["this CPU does not compute bfloat16 natively"]
    reasons += ["this CPU computes bfloat16 natively; --deepspeed zero1 for float32"]
    assert (settings.reason, settings.overruled) == (reasons[native], "")


@pytest.mark.parametrize("native", [False, True])
def test_the_choice_of_tasks(native: bool, task_inputs: Path, tmp_path: Path) -> None:
    settings = settle_settings(stage(task_inputs, tmp_path), 1, native, ALONE)
    assert (settings.stage, settings.precision) == (0, PRECISIONS[native])
    assert ("--deepspeed zero0 for float32" in settings.reason) == native


@pytest.mark.parametrize("native", [False, True])
def test_a_file_that_is_asked_for_is_taken(native: bool, toy_inputs: Path, tmp_path: Path) -> None:
    settings = settle_settings(load_config(general(toy_inputs, tmp_path, "zero2-bf16")), 1, native, ALONE)
    assert (settings.stage, settings.precision, settings.reason) == (2, "bf16", "")


def test_ranks_agree(toy_inputs: Path, tmp_path: Path) -> None:
    """On autocast where all of their devices compute bfloat16 natively, on float32 where one does not."""
    words = ["yy,yn,ny", *general(toy_inputs, tmp_path / "run")]
    ranks = start_ranks(2, ["tests/scripts/precision.py"], words, tmp_path, python=warm_python())
    codes = exit_codes(ranks)
    said = [(tmp_path / f"rank-{rank}.log").read_text() for rank in (0, 1)]
    assert codes == [0, 0], said
    both = "yy: bf16-autocast, as this CPU computes bfloat16 natively; --deepspeed zero1 for float32"
    another, own = "1 of 2 ranks do not compute bfloat16 natively", "this CPU does not compute bfloat16 natively"
    expected = [
        [both, f"yn: fp32, as {another}", f"ny: fp32, as {own}"],
        [both, f"yn: fp32, as {own}", f"ny: fp32, as {another}"],
    ]
    assert [
        [line for line in printed.splitlines() if line[:3] in ("yy:", "yn:", "ny:")] for printed in said
    ] == expected


def test_a_run_says_and_notes_what_it_took(
    world: World, toy_inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    distil(load_config(general(toy_inputs, tmp_path)), world)
    said = re.findall(r"^precision: (.*)$", capfd.readouterr().err, re.M)
    reason = (
        "computes bfloat16 natively; --deepspeed zero1 for float32" if NATIVE else "does not compute bfloat16 natively"
    )
    assert said == [f"{PRECISIONS[NATIVE]} (this CPU {reason})"]
    assert recorded(tmp_path) == PRECISIONS[NATIVE]
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["deepspeed"] == "auto"  # on another machine it may be another file
    assert ("torch_autocast" in written["environment"]["deepspeed_config"]) == NATIVE
    assert load_config(["--config", str(tmp_path / "config.yaml")]) == load_config(general(toy_inputs, tmp_path))


def test_a_run_says_that_its_file_was_asked_for(
    world: World, toy_inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    distil(load_config(general(toy_inputs, tmp_path, "zero2")), world)
    assert "\nprecision: fp32 (asked for)\n" in capfd.readouterr().err


@pytest.fixture(scope="module")
def runs(world: World, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By precision, the folder of a run of 2 steps that asked for its file. Do not write there."""
    folders = {}
    for precision, file in zip(PRECISIONS, ("zero1", "zero1-autocast"), strict=True):
        folders[precision] = tmp_path_factory.mktemp(precision)
        distil(load_config(general(toy_inputs, folders[precision], file, **{"run.max_steps": 2})), world)
    return folders


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_choice_of_a_continued_run(precision: str, native: bool, runs: dict[str, Path], toy_inputs: Path) -> None:
    """From the newest checkpoint of its folder, or from one that is named."""
    before = runs[precision]
    named = before / "checkpoints" / "step-00000002"
    for options in (general(toy_inputs, before), general(toy_inputs, before / "new", **{"run.resume": named})):
        settings = settle_settings(load_config(options), 1, native, ALONE)
        assert (settings.stage, settings.precision, settings.reason) == (1, precision, "as in the checkpoint")
        if precision == PRECISIONS[native]:
            assert settings.overruled == ""
        else:
            assert f"{named} was trained in {precision}" in settings.overruled
            assert f"a new one would take {PRECISIONS[native]} (this CPU " in settings.overruled


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_continued_run_keeps_its_precision_and_says_so(
    precision: str,
    runs: dict[str, Path],
    world: World,
    toy_inputs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """On any machine one of the two runs is of the precision that auto would not take there."""
    folder = tmp_path / "run"
    shutil.copytree(runs[precision], folder)
    capfd.readouterr()
    distil(load_config(general(toy_inputs, folder)), world)
    said = capfd.readouterr().err
    assert f"\nprecision: {precision} (as in the checkpoint)\n" in said and "\nsteps: 2 done of 4" in said
    assert (f"warning: precision: {folder}" in said) == (precision != PRECISIONS[NATIVE])
    assert newest(folder / "checkpoints")[0] == folder / "checkpoints" / "step-00000004"
    assert recorded(folder) == precision


@pytest.mark.parametrize(("there", "here"), [PRECISIONS, PRECISIONS[::-1]])
def test_another_precision_is_taken_where_a_file_asks_for_it(
    there: str,
    here: str,
    world: World,
    runs: dict[str, Path],
    toy_inputs: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(runs[there], tmp_path / "run")
    file = {"fp32": "zero1", "bf16-autocast": "zero1-autocast"}[here]
    distil(load_config(general(toy_inputs, folder, file)), world)
    said = capfd.readouterr().err
    assert f"warning: precision: the checkpoint was trained in {there}, and the run continues in {here}" in said
    assert f"continuing at 1 rank, ZeRO 1, {here}, from a checkpoint of 1 rank, ZeRO 1, {there}: converted in" in said
    assert recorded(folder) == here


def test_a_checkpoint_of_another_precision_is_refused_where_no_file_asks_for_it(
    world: World, toy_inputs: Path, tmp_path: Path
) -> None:
    """Auto has no file like the one that was asked for."""
    distil(load_config(general(toy_inputs, tmp_path, "zero1-bf16")), world)
    with pytest.raises(ValueError, match=f"precision: bf16 there, {PRECISIONS[NATIVE]} now"):
        distil(load_config(general(toy_inputs, tmp_path)), ALONE)


def test_the_doctor_says_it(runs: dict[str, Path], toy_inputs: Path, tmp_path: Path) -> None:
    findings = Findings()
    assert look(load_config(general(toy_inputs, tmp_path)), ALONE, findings)
    texts = [(each.level, each.text) for each in findings.all if each.subject == "precision"]
    assert [level for level, _ in texts] == ["ok"]
    assert texts[0][1].startswith(f"student {PRECISIONS[NATIVE]} (this CPU ") and texts[0][1].endswith(", teacher fp32")

    findings, other = Findings(), PRECISIONS[not NATIVE]
    assert look(load_config(general(toy_inputs, runs[other])), ALONE, findings)
    texts = [(each.level, each.text) for each in findings.all if each.subject == "precision"]
    assert texts[0] == ("ok", f"student {other} (as in the checkpoint), teacher fp32")
    assert texts[1][0] == "warn" and "was trained in" in texts[1][1] and len(texts) == 2


def test_nobody_is_told_to_ask_for_another_file_than_auto_takes(toy_inputs: Path, runs: dict[str, Path]) -> None:
    """A GPU that computes bfloat16 in a run of which another rank does not; and a checkpoint that settles it."""
    for precision in PRECISIONS:
        settings = settle_settings(load_config(general(toy_inputs, runs[precision])), 1, False, ALONE)
        (finding,) = check_precision(settings, None, torch.device("meta"))  # which computes nothing natively
        assert finding.level == "ok", finding


def test_teacher_and_student_go_by_the_same(toy_inputs: Path, tmp_path: Path) -> None:
    settings = settle_settings(load_config(general(toy_inputs, tmp_path)), 1, computes_bfloat16(CPU), ALONE)
    assert (teacher_dtype("auto", CPU) == torch.bfloat16) == (settings.precision == "bf16-autocast")


def test_a_finished_task_is_done_also_where_auto_would_take_another_precision(
    world: World, task_inputs: Path, done_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was made in float32."""
    output = tmp_path / "task"
    shutil.copytree(done_task, output)
    task_toys.run("all", task_toys.options(task_inputs, "singles", output, deepspeed="auto"), world)
    said = capfd.readouterr().err
    assert all(f"stage {name}: done already" in said for name in ("teacher", "mlm", "one", "two"))
    assert "warning: precision" not in said


def test_each_stage_of_a_task_goes_by_its_own_checkpoint(
    world: World, task_inputs: Path, done_task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stage one has a checkpoint of float32, of its last step, and goes on from it; stage two begins anew."""
    output = tmp_path / "task"
    shutil.copytree(done_task, output)
    for made in ("student-one", "student", "stages/two"):
        shutil.rmtree(output / made)
    given = task_toys.options(task_inputs, "singles", output, deepspeed="auto")
    inputs = open_inputs(read_arguments(["all", *given])[1], world, Findings())
    assert inputs is not None
    assert {name: settings.precision for name, settings in inputs.settings.items()} == {
        **dict.fromkeys(("teacher", "mlm", "one"), "fp32"),
        "two": PRECISIONS[NATIVE],
    }
    for action in ("one", "two"):
        task_toys.run(action, given, world)
    said = capfd.readouterr().err
    assert re.findall(r"^precision: (\S+) \((this CPU|as in the checkpoint)", said, re.M) == [
        ("fp32", "as in the checkpoint"),
        (PRECISIONS[NATIVE], "this CPU"),
    ]
    assert "warning: precision: " not in said  # nothing was left to train of stage one
    assert recorded(stage_folder(output, "one")) == "fp32"
    assert recorded(stage_folder(output, "two")) == PRECISIONS[NATIVE]
    made_of = json.loads((output / "student" / "stage.json").read_text())
    assert "precision" not in made_of and len(made_of) > 10
