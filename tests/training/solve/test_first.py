"""Runs that begin with solved weights: better than random ones, the same on two ranks, and solved once."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModel, BertModel

from megatinybert.config.load import ConfigError, load_config
from megatinybert.models.load import size_as_saved
from megatinybert.objectives.mlm import Mlm
from megatinybert.programs.distil import distil, look
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.training.checkpoints.files import CheckpointFiles
from megatinybert.training.first_weights import trains_projections
from megatinybert.training.same_run import known_to
from megatinybert.training.solve.first import check_solvable
from megatinybert.training.trainee import Trainee
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.toys import bert_config, metrics, recipe, run_general
from tests.helpers.warm_python import warm_python

SOLVED: dict[str, object] = {"student.init": "solved", "student.solve_tokens": 2000, "run.save_interval": 2}


@pytest.fixture(scope="module")
def solved_run(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(output folder, what was said) of four steps from solved weights."""
    folder = tmp_path_factory.mktemp("solved") / "run"
    done = run_general(recipe(toy_inputs, **{"run.output_dir": folder, **SOLVED}), python=warm_python())
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_it_begins_better_than_a_random_student(solved_run: tuple[Path, str], golden_run: Path) -> None:
    folder, said = solved_run
    first, random = metrics(folder)[0], metrics(golden_run)[0]
    for loss in ("total", "attention", "hidden", "embedding"):
        assert first[f"held_out/{loss}"] < 0.7 * random[f"held_out/{loss}"], loss
    assert first["held_out/probe"] > random["held_out/probe"]
    assert "student: solved on " in said and "as shares of their variance: " in said


def test_it_leaves_a_record_which_the_model_card_reads(solved_run: tuple[Path, str]) -> None:
    folder, said = solved_run
    record = json.loads((folder / "solved.json").read_text())
    errors = ", ".join(f"{error:.3f}" for error in record["errors"])
    assert f"solved on {record['tokens']:,} tokens in " in said and f"as shares of their variance: {errors}\n" in said
    assert len(record["errors"]) == 3 and 0 < record["kept"] <= 1 and record["seconds"] > 0
    total = metrics(folder)[0]["held_out/total"]
    card = (folder / "student" / "README.md").read_text()
    assert f"Solving alone, on {record['tokens']:,} tokens in " in card
    assert f"gave a held-out total of {total:#.4g} and a probe of " in card
    rates = said.partition("\noptimizer: ")[2].splitlines()[0]
    assert rates.startswith("adamw, learning rate up to 0.") and rates in card


def test_two_ranks_solve_the_same_student(solved_run: tuple[Path, str], toy_inputs: Path, tmp_path: Path) -> None:
    one_step = {"run.output_dir": tmp_path / "run", "run.max_steps": 1, **SOLVED}
    ranks = start_ranks(2, GENERAL, recipe(toy_inputs, **one_step), tmp_path, python=warm_python())
    codes = exit_codes(ranks)
    said = "".join((tmp_path / f"rank-{rank}.log").read_text() for rank in (0, 1))
    assert codes == [0, 0], said
    first, alone = metrics(tmp_path / "run")[0], metrics(solved_run[0])[0]
    for loss in ("total", "attention", "hidden", "embedding"):
        assert first[f"held_out/{loss}"] == pytest.approx(alone[f"held_out/{loss}"], rel=1e-3), loss
    assert said.count("student: solved on ") == 1
    ours, others = (json.loads((folder / "solved.json").read_text()) for folder in (tmp_path / "run", solved_run[0]))
    assert ours["tokens"] == others["tokens"]
    assert ours["errors"] == pytest.approx(others["errors"], rel=1e-3)


@pytest.mark.gpu
def test_a_run_on_a_gpu_begins_with_the_same_student(
    solved_run: tuple[Path, str], toy_inputs: Path, tmp_path: Path
) -> None:
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", **SOLVED})
    done = run_general(options, CUDA_VISIBLE_DEVICES=os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    assert done.returncode == 0, done.stderr
    assert "1 rank on cuda" in done.stderr
    first, on_cpu = metrics(tmp_path / "run")[0], metrics(solved_run[0])[0]
    for loss in ("total", "attention", "hidden", "embedding"):
        assert first[f"held_out/{loss}"] == pytest.approx(on_cpu[f"held_out/{loss}"], rel=1e-2), loss


def test_a_resumed_run_does_not_solve_again(solved_run: tuple[Path, str], toy_inputs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(solved_run[0], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    done = run_general(recipe(toy_inputs, **{"run.output_dir": folder, **SOLVED}), python=warm_python())
    assert done.returncode == 0 and "steps: 2 done of 4" in done.stderr, done.stderr
    assert "solved on" not in done.stderr
    for name in ("student/model.safetensors", "solved.json"):
        assert (folder / name).read_bytes() == (solved_run[0] / name).read_bytes()
    assert "Solving alone, on " in (folder / "student" / "README.md").read_text()


def test_a_solved_projection_is_not_trained(
    solved_run: tuple[Path, str], toy_inputs: Path, world: World, tmp_path: Path
) -> None:
    folder = solved_run[0]
    kept = load_file(folder / "objective.safetensors")
    states = folder / "checkpoints" / "step-00000002" / "student" / "mp_rank_00_model_states.pt"
    halfway = CheckpointFiles().load(str(states), map_location="cpu")["module"]
    for name, weight in kept.items():
        assert torch.equal(weight, halfway[f"objective.{name}"]), name
    trained = {"run.output_dir": tmp_path / "trained", **SOLVED, "objective.train_projection": True}
    distil(load_config(recipe(toy_inputs, **trained)), world)
    for name, weight in load_file(tmp_path / "trained" / "objective.safetensors").items():
        assert not torch.equal(weight, kept[name]), name


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_a_solved_projection_is_taken_over_at_another_stage(
    stage: int, solved_run: tuple[Path, str], toy_inputs: Path, world: World, tmp_path: Path
) -> None:
    folder = shutil.copytree(solved_run[0], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints" / "step-00000004")
    distil(load_config(recipe(toy_inputs, **{"run.output_dir": folder, **SOLVED, "deepspeed": f"zero{stage}"})), world)
    for name, weight in load_file(solved_run[0] / "objective.safetensors").items():
        assert torch.equal(weight, load_file(folder / "objective.safetensors")[name]), name


def test_the_next_phase_keeps_what_this_one_kept(solved_run: tuple[Path, str]) -> None:
    run = str(solved_run[0])
    assert [trains_projections(None, init) for init in ("solved", "random", "teacher", run)] == [
        False,
        True,
        True,
        False,
    ]
    assert trains_projections(True, "solved") and trains_projections(True, run)
    assert not trains_projections(False, "random")


def test_how_it_was_solved_is_part_of_the_run(
    solved_run: tuple[Path, str], toy_inputs: Path, world: World, golden_run: Path
) -> None:
    def failures(folder: Path, **changed: object) -> str:
        findings = Findings()
        look(load_config(recipe(toy_inputs, **{"run.output_dir": folder, **SOLVED, **changed})), world, findings)
        return "\n".join(findings.texts("fail"))

    folder = solved_run[0]
    state = json.loads((folder / "checkpoints" / "step-00000004" / "state.json").read_text())
    assert (state["facts"]["student.init"], state["facts"]["student.solve_tokens"]) == ("solved", 2000)
    assert failures(folder) == ""
    assert "student.solve_tokens: 2000 there, 4000 now" in failures(folder, **{"student.solve_tokens": 4000})
    others = failures(golden_run, **{"run.max_steps": 20, "run.global_batch": 48})
    assert "student.init: random there, solved now" in others
    # Checkpoints from before there were solved students do not say how they began.
    assert known_to({"run.seed": 0}, {"run.seed": 1, "student.init": "solved"}) == {"run.seed": 1}


def test_what_cannot_be_solved_is_refused(toy_inputs: Path, tmp_path: Path, world: World) -> None:
    findings = Findings()
    embedding_alone = {"objective.attention_weight": 0, "objective.hidden_weight": 0}
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", **SOLVED, **embedding_alone})
    look(load_config(options), world, findings)
    assert "looks at the teacher's embeddings alone" in "\n".join(findings.texts("fail"))
    with pytest.raises(ValueError, match="students are solved for the objective tinybert alone: take random"):
        check_solvable(Trainee(BertModel(bert_config(1)), Mlm()))
    with pytest.raises(ConfigError, match=r"--student.init solved: the objective mlm has no teacher"):
        load_config(
            ["--objective.name", "mlm", "--student.init", "solved", "--data.shards", "a", "--teacher.model", "b"]
        )
    with pytest.raises(ConfigError, match=r"--student.solve_tokens 5 .* has no effect beside --student.init random"):
        load_config(recipe(toy_inputs, **{"student.solve_tokens": 5}))


def test_it_is_the_default_where_there_is_a_teacher() -> None:
    assert load_config(["--teacher.model", "a", "--data.shards", "b"]).student.init == "solved"
    mlm = load_config(["--objective.name", "mlm", "--teacher.tokenizer", "a", "--data.shards", "b"])
    assert mlm.student.init == "random"


def test_the_parameters_that_are_told_are_those_of_the_folder(solved_run: tuple[Path, str]) -> None:
    folder, said = solved_run
    with safe_open(folder / "student" / "model.safetensors", framework="pt") as file:
        saved = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    plain = AutoModel.from_pretrained(folder / "student")
    assert saved == plain.num_parameters() == size_as_saved(plain).parameters
    assert f"student: {saved:,} parameters with pooler, ZeRO 1" in said
    assert f"{saved:,} parameters with pooler (" in (folder / "student" / "README.md").read_text()


def test_warnings_and_what_is_chosen_are_told_before_solving(solved_run: tuple[Path, str]) -> None:
    lines = solved_run[1].splitlines()
    assert lines[:2] == ["loading PyTorch and DeepSpeed", "opening teacher, student and data"]
    solved = next(number for number, line in enumerate(lines) if line.startswith("student: solved on "))
    warnings = [number for number, line in enumerate(lines) if line.startswith("warning: ")]
    assert "tokens are little text" in " ".join(lines[number] for number in warnings)
    assert max(warnings) < lines.index("trying the first batch") < solved
    assert sum(line.startswith("data: ") for line in lines[:solved]) == 1
