"""A run that goes on from another's student and projection: its first loss is the other's last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from megatinybert.config.load import load_config
from megatinybert.models.positions import extend_positions
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.training.trainee import Trainee, build_trainee
from tests.helpers.toys import metrics, recipe, run_general, write_student_shape, write_teacher

PHASE_2 = {"run.max_steps": 1}  # of the same seed, on which the segments of held-out windows depend here


def phase(world: World, inputs: Path, folder: Path, **overrides: object) -> list[dict[str, float]]:
    """The metrics of a short run in `folder`."""
    distil(load_config(recipe(inputs, **{"run.output_dir": folder, **overrides})), world)
    return metrics(folder)


@pytest.fixture(scope="module")
def phase_1(world: World, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a finished run of 8 steps."""
    folder = tmp_path_factory.mktemp("two phases") / "phase 1"
    phase(world, toy_inputs, folder, **{"run.max_steps": 8})
    return folder


def trainee_of(inputs: Path, **overrides: object) -> Trainee:
    config = load_config(recipe(inputs, **overrides))
    return build_trainee(config, BertConfig.from_pretrained(config.teacher.model))


@pytest.mark.parametrize("ds_config", ["zero1", "zero3", "zero2-bf16"])
def test_phase_2_begins_with_the_loss_that_phase_1_ended_with(
    world: World, toy_inputs: Path, tmp_path: Path, ds_config: str
) -> None:
    """On the same held-out windows. So student and projection are both kept, whatever held them."""
    last = phase(world, toy_inputs, tmp_path / "1", deepspeed=ds_config, **{"run.max_steps": 4})[-1]
    init = {"student.init": tmp_path / "1", **PHASE_2}
    first = phase(world, toy_inputs, tmp_path / "2", deepspeed=ds_config, **init)[0]
    tags = [tag for tag in last if tag.startswith("held_out/")]
    assert len(tags) == 6 and first["step"] == 0
    assert {tag: first[tag] for tag in tags} == pytest.approx({tag: last[tag] for tag in tags}, rel=1e-6)


def test_the_student_alone_comes_with_a_new_projection(
    world: World, toy_inputs: Path, tmp_path: Path, phase_1: Path
) -> None:
    last = metrics(phase_1)[-1]
    first = phase(world, toy_inputs, tmp_path / "2", **{"student.init": phase_1 / "student", **PHASE_2})[0]
    assert first["held_out/attention"] == pytest.approx(last["held_out/attention"], rel=1e-6)  # needs no projection
    assert first["held_out/hidden"] > 1.05 * last["held_out/hidden"]


def test_phase_2_on_longer_windows_begins_near_phase_1(
    world: World, toy_inputs: Path, tmp_path: Path, phase_1: Path
) -> None:
    """Half of the positions of its windows are new to the student."""
    rows = metrics(phase_1)
    length = {"data.sequence_length": 32, "run.global_batch": 4}
    first = phase(world, toy_inputs, tmp_path / "2", **{"student.init": phase_1, **length, **PHASE_2})[0]
    learnt = rows[0]["held_out/total"] - rows[-1]["held_out/total"]
    assert first["held_out/total"] < rows[-1]["held_out/total"] + 0.25 * learnt


def test_new_positions_are_read_off_the_teachers(world: World, toy_inputs: Path, tmp_path: Path, phase_1: Path) -> None:
    """A run notes how many its student has, so that a third one takes them as they are."""

    def positions(student: BertModel) -> torch.Tensor:
        return student.embeddings.position_embeddings.weight.detach()

    longer = {"student.init": phase_1, "data.sequence_length": 32}
    taken = positions(trainee_of(toy_inputs, **longer).student)
    left = load_file(phase_1 / "student" / "model.safetensors")["embeddings.position_embeddings.weight"]
    teacher = load_file(toy_inputs / "teacher" / "model.safetensors")["embeddings.position_embeddings.weight"]
    assert torch.equal(taken, extend_positions(left, teacher, 16))
    assert torch.equal(taken[:16], left[:16]) and not torch.equal(taken[16:32], left[16:32])
    phase(world, toy_inputs, tmp_path / "2", **longer, **PHASE_2)
    third = {"student.init": tmp_path / "2", "data.sequence_length": 32}
    left = load_file(tmp_path / "2" / "student" / "model.safetensors")["embeddings.position_embeddings.weight"]
    assert torch.equal(positions(trainee_of(toy_inputs, **third).student), left)
    phase(world, toy_inputs, tmp_path / "3", **{"student.init": tmp_path / "2", **PHASE_2})  # short windows again
    left = load_file(tmp_path / "3" / "student" / "model.safetensors")["embeddings.position_embeddings.weight"]
    fourth = {"student.init": tmp_path / "3", "data.sequence_length": 32}
    assert torch.equal(positions(trainee_of(toy_inputs, **fourth).student), left)


def test_positions_met_by_skips_are_taken_as_they_are(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    """All 64 of the student were trained, so none is read off the teacher's; and they all have moved."""
    phase(world, toy_inputs, tmp_path / "1", **{"data.position_skips": 1, "run.max_steps": 20})
    left = load_file(tmp_path / "1" / "student" / "model.safetensors")["embeddings.position_embeddings.weight"]
    longer = trainee_of(toy_inputs, **{"student.init": tmp_path / "1", "data.sequence_length": 64})
    assert torch.equal(longer.student.embeddings.position_embeddings.weight, left)
    first = trainee_of(toy_inputs).student.embeddings.position_embeddings.weight
    assert ((left - first).abs().amax(dim=1) > 0.002).all()  # weight decay alone moves them by 0.00004


def test_windows_of_all_positions_have_nowhere_to_skip_to(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    long = {"data.position_skips": 0.5, "data.sequence_length": 64, "run.max_steps": 1}
    with pytest.raises(
        ValueError, match="--data.position_skips 0.5: windows of --data.sequence_length 64 tokens take all"
    ):
        phase(world, toy_inputs, tmp_path / "run", **long)


def test_the_projection_lies_beside_the_student(phase_1: Path, toy_inputs: Path) -> None:
    file = phase_1 / "objective.safetensors"
    weights = load_file(file)
    assert {name: weight.shape for name, weight in weights.items()} == {
        "projections.0.weight": (24, 12),
        "projections.0.bias": (24,),
    }
    assert all(weight.dtype == torch.float32 for weight in weights.values())
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in phase_1.glob(".*")] == [".lock"]
    taken = trainee_of(toy_inputs, **{"student.init": phase_1, "run.seed": 3})
    for name, weight in taken.objective.named_parameters():
        assert torch.equal(weight, weights[name]), name
    student = load_file(phase_1 / "student" / "model.safetensors")
    for name, weight in taken.student.named_parameters():
        assert torch.equal(weight, student[name]), name


def test_an_objective_that_learns_nothing_is_taken_over_as_well(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    attention_alone = {"objective.hidden_weight": 0, "objective.embedding_weight": 0}
    last = phase(world, toy_inputs, tmp_path / "1", **attention_alone, **{"run.max_steps": 1})[-1]
    init = {"student.init": tmp_path / "1", **PHASE_2}
    first = phase(world, toy_inputs, tmp_path / "2", **attention_alone, **init)[0]
    assert first["held_out/total"] == pytest.approx(last["held_out/total"], rel=1e-6)


def _per_layer(folder: Path) -> dict[str, object]:
    return {"objective.projection": "per-layer"}


def _wider_teacher(folder: Path) -> dict[str, object]:
    return {"teacher.model": write_teacher(folder / "wide", hidden=32)}


def _wider_student(folder: Path) -> dict[str, object]:
    return {"student.config": write_student_shape(folder / "shape", hidden=16)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _per_layer,
            ["--objective.projection: shared there, per-layer here", "projections.2.bias: none there, [24] here"],
        ),
        (_wider_teacher, ["projections.0.weight: [24, 12] there, [32, 12] here", "a teacher of the same width"]),
        (_wider_student, ["hidden_size is 12 there and 16 in --student.config"]),
    ],
)
def test_what_does_not_fit_is_named_on_both_sides(
    toy_inputs: Path, tmp_path: Path, phase_1: Path, change: Callable[[Path], dict[str, object]], said: list[str]
) -> None:
    with pytest.raises(ValueError) as refused:
        trainee_of(toy_inputs, **{"student.init": phase_1, **change(tmp_path)})
    for text in [f"--student.init {phase_1}", *said]:
        assert text in str(refused.value)


def test_an_unfinished_run_gives_no_first_weights(toy_inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("run: {}\n")
    with pytest.raises(ValueError, match="has left no student yet; let it end"):
        trainee_of(toy_inputs, **{"student.init": tmp_path})
    (tmp_path / "student").mkdir()
    with pytest.raises(ValueError, match=rf"has left no objective.safetensors, .* name {tmp_path / 'student'},"):
        trainee_of(toy_inputs, **{"student.init": tmp_path})


@pytest.mark.slow
def test_phase_2_may_have_another_number_of_processes(toy_inputs: Path, tmp_path: Path) -> None:
    """Two ranks at stage 3, then one at stage 0: what lay in parts is whole in the files."""
    one = recipe(toy_inputs, **{"run.output_dir": tmp_path / "1", "deepspeed": "zero3"})
    two = recipe(
        toy_inputs,
        **{"run.output_dir": tmp_path / "2", "deepspeed": "zero0", **PHASE_2, "student.init": tmp_path / "1"},
    )
    for options, ranks in ((one, 2), (two, 1)):
        done = run_general(options, ranks)
        assert done.returncode == 0, done.stderr
    last, first = metrics(tmp_path / "1")[-1], metrics(tmp_path / "2")[0]
    assert first["held_out/total"] == pytest.approx(last["held_out/total"], rel=1e-5)
