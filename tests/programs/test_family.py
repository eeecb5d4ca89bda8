"""Several students of one teacher pass: each ends as it would alone, in a folder as it would leave alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from megatinybert.config.load import load_config
from megatinybert.programs.distil import distil, look
from megatinybert.programs.estimate import estimate
from megatinybert.programs.family_report import report_folder
from megatinybert.programs.search import teacher_of
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.disk import size
from megatinybert.training.finite import NonFiniteLoss
from megatinybert.training.step import StepResult, train_step
from megatinybert.training.stop import Stopped
from tests.helpers.tensorboard import scalars
from tests.helpers.toys import metrics, recipe, run_general, write_student_shape
from tests.scripts.golden import STEPS, golden_options
from tests.training.test_resume import assert_same_end

# What is its own of the second student; the first one is the golden run's.
SMALL: dict[str, dict[str, Any]] = {
    "student": {"init": "solved", "solve_tokens": 400, "hidden_dropout": 0.2},
    "objective": {"layer_map": "bottom", "attention_weight": 0.5, "projection": "per-layer"},
    "optimizer": {"learning_rate": 0.003, "gradient_clipping": 0.1, "weight_decay": 0.0},
    "schedule": {"type": "cosine", "warmup_steps": 2},
}


@pytest.fixture(scope="module")
def students(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two students: the golden run's, and one that needs a single layer of the teacher."""
    folder = tmp_path_factory.mktemp("students")
    shape = write_student_shape(folder / "shape", layers=1, hidden=8)
    small = {**SMALL, "student": {**SMALL["student"], "config": str(shape)}}
    file = folder / "students.yaml"
    file.write_text(yaml.safe_dump([{"name": "golden"}, {"name": "small", **small}]))
    return file


def alone(students: Path) -> dict[str, object]:
    """The options of the second student for a run of its own; rows of several follow the student beside the entries."""
    small = yaml.safe_load(students.read_text())[1]
    own = {f"{section}.{key}": value for section in SMALL for key, value in small[section].items()}
    return {**own, "data.short_rows": 0.0}


@pytest.fixture(scope="module")
def family(world: World, toy_inputs: Path, students: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of both. Do not write there."""
    folder = tmp_path_factory.mktemp("family") / "run"
    torch.set_num_threads(1)  # as in the golden run
    distil(load_config(golden_options(toy_inputs, folder, students=students)), world)
    return folder


def test_each_student_ends_as_it_would_alone(
    world: World, toy_inputs: Path, students: Path, family: Path, golden_run: Path, tmp_path: Path
) -> None:
    """Bit for bit: weights, optimizer, metrics; with dropout, solved first weights, another clipping and schedule."""
    distil(load_config(golden_options(toy_inputs, tmp_path / "small", **alone(students))), world)
    for name, solo in (("golden", golden_run), ("small", tmp_path / "small")):
        assert_same_end(family / name, solo)
        learnt, expected = (load_file(folder / "objective.safetensors") for folder in (family / name, solo))
        assert learnt.keys() == expected.keys()
        assert all(torch.equal(learnt[key], expected[key]) for key in expected)
        states = [
            json.loads((run / f"checkpoints/step-{STEPS:08d}/state.json").read_text()) for run in (family / name, solo)
        ]
        assert states[0]["facts"] == states[1]["facts"]
    errors = [
        json.loads((folder / "solved.json").read_text())["errors"] for folder in (family / "small", tmp_path / "small")
    ]
    assert errors[0] == errors[1]


def test_what_is_left_in_the_folders(family: Path, golden_run: Path) -> None:
    for name in ("golden", "small"):
        there = {path.name for path in (family / name).iterdir()}
        assert {path.name for path in golden_run.iterdir()} - there <= {"tensorboard", ".lock"}
    assert {path.name for path in family.iterdir()} == {
        *("golden", "small", "config.yaml", "metrics.jsonl", "tensorboard", ".lock")
    }
    # Each member's scalars have its name; what is common has none, in the member's own file too.
    last, own = metrics(family)[-1], metrics(family / "small")[-1]
    assert own["held_out/total"] == last["small/held_out/total"] and own["windows/epoch"] == last["windows/epoch"]
    assert not [tag for tag in own if tag.startswith(("golden/", "small/"))]
    shown = scalars(family)
    assert {"golden/loss/total", "small/loss/total", "small/held_out/probe", "speed/tokens_per_second"} <= shown.keys()
    assert "loss/total" not in shown


def test_the_recipe_of_a_member_is_that_of_a_run_of_its_own(family: Path, students: Path) -> None:
    member = load_config(["--config", str(family / "small" / "config.yaml")])
    assert member.students is None and member.run.output_dir == str(family / "small")
    assert member.run.resume == "auto" and member.optimizer.learning_rate == 0.003
    whole = load_config(["--config", str(family / "config.yaml")])
    assert [student.name for student in whole.students or []] == ["golden", "small"]
    assert (whole.students or [])[1].objective == member.objective


def test_a_student_goes_on_alone(world: World, family: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From the family's checkpoint, by the recipe in its folder; and a later run starts from its weights."""
    shutil.copytree(family / "small", tmp_path / "small")
    recipe_there = ["--config", str(tmp_path / "small" / "config.yaml"), "--run.output_dir", str(tmp_path / "small")]
    distil(load_config([*recipe_there, "--monitor.attention_interval", "0"]), world)
    assert f"steps: {STEPS} done of {STEPS}" in capfd.readouterr().err
    more = ["--student.init", str(tmp_path / "small"), "--student.solve_tokens", "null", "--run.output_dir"]
    findings = Findings()
    assert look(load_config([*recipe_there, *more, str(tmp_path / "next")]), world, findings), findings.texts("fail")


def test_reports(family: Path, tmp_path: Path) -> None:
    shutil.copytree(family, tmp_path / "run")
    said = report_folder(tmp_path / "run")
    table = {line[:40].split("  ")[0].strip(): line.split() for line in said.splitlines()}
    assert said.splitlines()[0].split() == ["golden", "small", "teacher"]
    assert table["layers x width"][-9:] == ["2", "x", "12", "1", "x", "8", "4", "x", "24"]
    last = metrics(family)[-1]
    assert table["probe"][-3:] == [f"{last[f'{name}/held_out/probe']:.3f}" for name in ("golden", "small")] + ["1.000"]
    assert (tmp_path / "run" / "trade-off.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "run" / "report.json").read_text())["students"]
    assert written["small"]["probe"][1] == last["small/held_out/probe"]
    one = report_folder(tmp_path / "run" / "small")
    assert "solved" in one and f"--logdir {tmp_path / 'run' / 'tensorboard'}" in one
    card = (family / "small" / "student" / "README.md").read_text()
    assert "of this student and golden together" in card
    with pytest.raises(ValueError, match=r"several students: name the folder of one of them \(.*golden, .*small\)"):
        teacher_of(family)
    assert teacher_of(family / "small").endswith("teacher")


def test_a_stopped_family_continues_to_the_same_end(
    world: World, toy_inputs: Path, students: Path, family: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """By the file STOP in the run's folder; then with the newest checkpoint of one member damaged; then changed."""
    folder = tmp_path / "run"
    folder.mkdir()

    def stop_at(number: int) -> pytest.MonkeyPatch:
        def train(*arguments: Any) -> dict[str, StepResult]:
            if arguments[3] == number - 1:
                (folder / "STOP").touch()
            return train_step(*arguments)

        patch = pytest.MonkeyPatch()
        patch.setattr("megatinybert.training.loop.train_step", train)
        return patch

    config = load_config(golden_options(toy_inputs, folder, students=students))
    patch = stop_at(12)
    with pytest.raises(Stopped, match=r"^stopped at step 12; the same command continues from step 12$"):
        distil(config, world)
    patch.undo()
    newest = sorted(path.name for path in (folder / "golden" / "checkpoints").iterdir())
    assert newest == sorted(path.name for path in (folder / "small" / "checkpoints").iterdir())
    assert newest == ["step-00000010", "step-00000012"]
    for changed in ([{"name": "golden"}], [{"name": "golden"}, {"name": "other"}]):
        other = tmp_path / "other.yaml"
        other.write_text(yaml.safe_dump(changed))
        findings = Findings()
        assert look(load_config(golden_options(toy_inputs, folder, students=other)), world, findings) is None
        assert "began with golden, small, and now there are golden" in findings.texts("fail")[0]
    findings = Findings()
    assert look(load_config(golden_options(toy_inputs, folder)), world, findings) is None
    assert "holds a run of several students (golden, small)" in findings.texts("fail")[0]
    next((folder / "small" / "checkpoints" / "step-00000012").rglob("*.pt")).unlink()
    killed = folder / "golden" / "checkpoints" / "step-00000010"  # as before it had its name
    killed.rename(f"{killed}.tmp")
    distil(config, world)
    said = capfd.readouterr().err
    assert "not all students have a whole checkpoint of step 12 (small: " in said
    assert f"steps: 10 done of {STEPS}" in said
    for name in ("golden", "small"):
        assert_same_end(folder / name, family / name)
    assert (folder / "golden" / "set-aside-1" / "checkpoints" / "step-00000012").is_dir()


def test_a_checkpoint_that_one_cannot_save_none_has(
    world: World, toy_inputs: Path, students: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CheckpointFiles.save

    def save(files: CheckpointFiles, state_dict: Any, path: str) -> None:
        if "step-00000002" in path and "/small/" in path:
            files.problems.append(f"{path} cannot be written: No space left on device")
        else:
            write(files, state_dict, path)

    monkeypatch.setattr(CheckpointFiles, "save", save)
    more = {"run.output_dir": tmp_path, "run.save_interval": 1, "run.keep_checkpoints": 9, "run.max_steps": 3}
    distil(load_config(recipe(toy_inputs, students=students, **more)), world)
    for name in ("golden", "small"):
        assert sorted(path.name[-1] for path in (tmp_path / name / "checkpoints").iterdir()) == ["0", "1", "3"]


def test_what_is_wrong_with_one_is_told_with_its_place(
    world: World, toy_inputs: Path, tmp_path: Path, students: Path
) -> None:
    wrong = [
        {"name": "far", "objective": {"layer_map": [1, 7]}},
        {"name": "heads", "student": {"config": str(write_student_shape(tmp_path / "heads", heads=2))}},
        {"name": "alike"},
    ]
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    findings = Findings()
    options = recipe(toy_inputs, **{"students": tmp_path / "wrong.yaml", "run.output_dir": tmp_path / "run"})
    assert look(load_config(options), world, findings) is None
    first, second = findings.texts("fail")
    assert first.startswith("students[0] (far): objective.layer_map [1, 7] must rise strictly within 0 .. 3")
    assert second.startswith("students[1] (heads): attention scores are compared head by head")
    common = [each.text for each in findings.all if each.subject == "DeepSpeed file"]
    assert len(common) == 1 and "students" not in common[0]  # what is true of all is told once
    one_segment = write_student_shape(tmp_path / "one-segment", type_vocab_size=1)
    (tmp_path / "wrong.yaml").write_text(
        yaml.safe_dump([{"name": "a"}, {"name": "b", "student": {"config": str(one_segment)}}])
    )
    findings = Findings()
    look(load_config(options), world, findings)
    assert "need the same type_vocab_size: here a 2, b 1" in findings.texts("fail")[0]


def test_a_loss_that_is_not_finite_is_told_with_the_students_name(
    world: World, toy_inputs: Path, students: Path, tmp_path: Path
) -> None:
    content = yaml.safe_load(students.read_text())
    content[1] |= {"optimizer": {"learning_rate": 1, "weight_decay": 1e20}, "schedule": {"warmup_steps": 0}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content))
    more = {"run.output_dir": tmp_path / "run", "run.max_steps": 8, "students": tmp_path / "s.yaml"}
    with pytest.raises(NonFiniteLoss, match=r"^small: step \d: the (gradient|loss) is not finite"):
        distil(load_config(recipe(toy_inputs, **more)), world)
    assert (tmp_path / "run" / "small" / "non_finite.json").is_file()


def test_the_doctor_estimates_all_together(
    world: World, toy_inputs: Path, students: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = {"students": students, "run.output_dir": tmp_path / "run", "monitor.attention_interval": 2}
    findings = Findings()
    ready = look(load_config(recipe(toy_inputs, **options)), world, findings)
    assert ready is not None, findings.texts("fail")
    models = [each.text for each in findings.all if each.subject == "models"]
    assert [text.split(":")[0] for text in models] == ["students[0] (golden)", "students[1] (small)"]
    alone = [stage.parameters for stage in ready.family.members.values()]
    found = estimate(ready, 1, world, seconds=0.1)
    said = capfd.readouterr().err  # before the bars, whose passes have no other name than solving
    assert "timing how long it takes to solve the student small, on a small part of the text\n" in said
    assert re.search(r"solving on [\d,]+ tokens \([\d,]+ asked for, in whole batches\), 6 passes: ", said)
    assert "golden," not in said
    assert found.checkpoint_bytes == 16 * sum(alone)
    (room,) = (each.text for each in findings.all if each.subject == "disk")
    assert room.startswith(f"a checkpoint takes {size(found.checkpoint_bytes)}, ")
    assert [each.name for each in found.occasions] == [
        *("solving", "held-out measurement", "set of attention maps", "checkpoint")
    ]
    assert found.occasions[-1].times == 2  # of step 0, since a student is solved, and of the last


@pytest.mark.slow
def test_three_students_on_two_ranks(toy_inputs: Path, students: Path, tmp_path: Path) -> None:
    """Each as in a run of its own on two ranks, by the launcher."""
    content = yaml.safe_load(students.read_text())
    third = {"name": "third", "optimizer": {"name": "sgd"}, "objective": {"layer_map": "top"}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump([*content, third]))
    done = run_general(golden_options(toy_inputs, tmp_path / "run", students=tmp_path / "s.yaml"), ranks=2)
    assert done.returncode == 0, done.stderr
    own = {"golden": {}, "small": alone(students), "third": {"optimizer.name": "sgd", "objective.layer_map": "top"}}
    for name, options in own.items():
        solo = run_general(golden_options(toy_inputs, tmp_path / name, **options), ranks=2)
        assert solo.returncode == 0, solo.stderr
        assert_same_end(tmp_path / "run" / name, tmp_path / name)
