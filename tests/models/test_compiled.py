"""Runs through torch.compile: the same losses and gradients, remembered by checkpoints, and only where it pays."""

from __future__ import annotations

import dataclasses
import functools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest
import torch

from megatinybert.config.deepspeed import DeepSpeedSettings, load_ds_config
from megatinybert.config.load import ConfigError, GeneralConfig, load_config
from megatinybert.models import compiled
from megatinybert.models.capture import run_captured
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher, build_student, load_teacher
from megatinybert.runtime.dist import World
from megatinybert.training import compile_choice as compilation
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.choices import Choice, check_choices
from megatinybert.training.compile_choice import Work, choose_compilation
from megatinybert.training.trainee import Trainee, build_trainee
from tests.helpers.compiler import needs_compiler
from tests.helpers.toys import bert_config, metrics, padded_batch, recipe, run_general
from tests.scripts.golden import golden_options

CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)


def work_of(inputs: Path, passes: int = 1, **overrides: object) -> tuple[Work, tuple[GeneralConfig, DeepSpeedSettings]]:
    """A micro batch of 4 rows of 8 tokens to be passed so often; and the run's options."""
    config = load_config(recipe(inputs, **overrides))
    trainee = build_trainee(config, read_bert_config(str(config.teacher.model), "--teacher.model"))
    teacher = load_teacher(str(config.teacher.model), trainee.objective.teacher_layers, torch.float32, CPU)
    batch = {name: tensor for name, tensor in padded_batch(4).items() if name != "attention_mask"}
    settings = load_ds_config(config.deepspeed, config, 1)
    return Work([trainee], teacher, batch, passes), (config, settings)


def losses(trainee: Trainee, teacher: Teacher, work: Work) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    total, values, _ = trainee.train()(work.batch, teacher.features(work.batch))
    trainee.zero_grad()
    total.backward()
    return values, {name: weight.grad for name, weight in trainee.named_parameters() if weight.grad is not None}


@pytest.mark.slow
@needs_compiler
def test_compiled_passes_give_the_same_losses_and_gradients(toy_inputs: Path) -> None:
    work, _ = work_of(toy_inputs, **{"student.hidden_dropout": 0.0})
    assert work.teacher
    values, gradients = losses(work.trainees[0], work.teacher, work)
    shape = work.batch["input_ids"].shape
    work.teacher.compile_passes(shape)
    work.trainees[0].compile_passes(shape)
    traced = losses(work.trainees[0], work.teacher, work)
    with torch.compiler.set_stance("fail_on_recompile"):
        again = losses(work.trainees[0], work.teacher, work)
    for found in (traced, again):
        torch.testing.assert_close(found[0], values, rtol=1e-5, atol=1e-7)
        assert found[1].keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    with torch.autocast("cpu", torch.bfloat16):
        narrow, _ = losses(work.trainees[0], work.teacher, work)
    torch.testing.assert_close(narrow, values, rtol=0.02, atol=1e-3)


@pytest.mark.slow
@needs_compiler
def test_gradients_of_the_scores_leave_autocast_in_the_backward_pass_too(toy_inputs: Path) -> None:
    """Near the teacher, the Gram form's products nearly cancel: in 16 bits the gradient would be mostly noise."""
    work, _ = work_of(toy_inputs)
    assert work.teacher
    rows = {name: torch.cat([tensor] * 4, dim=1) for name, tensor in work.batch.items()}  # 32 tokens: the Gram form
    with torch.no_grad():
        teacher, student = work.teacher.features(rows), run_captured(work.trainees[0].student.eval(), rows)

    def gradient(terms: Callable[..., list[torch.Tensor]]) -> torch.Tensor:
        query = student.queries[0].detach().requires_grad_()
        moved = dataclasses.replace(student, queries=[query, *student.queries[1:]])
        with torch.autocast("cpu", torch.bfloat16):
            losses = terms(moved, teacher, rows)
        losses[0].backward()  # outside, as DeepSpeed calls it
        assert query.grad is not None
        return query.grad

    expected = gradient(work.trainees[0].objective)
    found = gradient(compiled.compiled_terms(work.trainees[0].objective))
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_measurements_and_other_shapes_run_as_written(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The student's passes without gradients, and those of the last rows of a measurement."""
    calls = []

    def spy(function: Callable[..., object], **_: object) -> Callable[..., object]:
        return lambda *arguments: (calls.append(function.__name__), function(*arguments))[1]

    monkeypatch.setattr(torch, "compile", spy)
    work, _ = work_of(toy_inputs)
    assert work.teacher
    work.trainees[0].compile_passes(work.batch["input_ids"].shape)
    work.teacher.compile_passes(work.batch["input_ids"].shape)
    work.teacher.features({name: rows[:2] for name, rows in work.batch.items()})
    assert calls == []
    with torch.no_grad():
        work.trainees[0].eval()(work.batch, work.teacher.features(work.batch))
    assert calls == ["parts"]  # the teacher's
    work.trainees[0].train()(work.batch, work.teacher.features(work.batch))
    assert calls == ["parts", "parts", "parts", "terms"]


@pytest.mark.slow
@needs_compiler
def test_a_compiled_run_is_continued_bit_for_bit(toy_inputs: Path, golden_run: Path, tmp_path: Path) -> None:
    """And it ends near one that is not compiled, whose dropout is another."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run_general(golden_options(toy_inputs, whole, **{"run.compile": "always"}))
    assert done.returncode == 0, done.stderr
    assert "models compiled by torch.compile (asked for)" in done.stderr
    _, facts = read_state(whole / "checkpoints" / "step-00000015")
    assert facts["run.compile"] == "always"
    shutil.copytree(whole / "checkpoints" / "step-00000015", parts / "checkpoints" / "step-00000010")
    again = run_general(golden_options(toy_inputs, parts))  # auto: as it was
    assert again.returncode == 0, again.stderr
    assert "models compiled by torch.compile (as in the checkpoint)" in again.stderr
    weights = [(folder / "student" / "model.safetensors").read_bytes() for folder in (whole, parts)]
    assert weights[0] == weights[1]
    assert metrics(whole)[-1]["held_out/total"] == pytest.approx(metrics(golden_run)[-1]["held_out/total"], rel=0.1)


def test_unfinished_builds_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a kill leaves them: a library cut short beside the folder that it was built in, and an empty one."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "ab" / "cut.main_CxxBuild").mkdir(parents=True)
    (tmp_path / "locks").mkdir()
    for name in ("cut.main.so", "cut.main.cpp", "whole.main.so"):
        (tmp_path / "ab" / name).write_text("x")
    (tmp_path / "ab" / "empty.main.so").touch()
    with filelock.FileLock(tmp_path / "locks" / "other.lock"):  # another run compiles
        assert compiled.remove_unfinished_builds() == 0
    assert compiled.remove_unfinished_builds() == 2
    assert sorted(file.name for file in (tmp_path / "ab").iterdir()) == ["cut.main.cpp", "whole.main.so"]
    assert compiled.remove_unfinished_builds() == 0


@needs_compiler
@pytest.mark.slow
def test_a_library_that_a_kill_cut_short_is_built_again(toy_inputs: Path, tmp_path: Path) -> None:
    cache, options = tmp_path / "cache", {"run.compile": "always", "run.max_steps": 1}
    first = run_general(
        recipe(toy_inputs, **options, **{"run.output_dir": tmp_path / "a"}), TORCHINDUCTOR_CACHE_DIR=str(cache)
    )
    assert first.returncode == 0, first.stderr
    libraries = list(cache.rglob("*.so"))
    assert libraries
    for library in libraries:
        library.write_bytes(b"")
    again = run_general(
        recipe(toy_inputs, **options, **{"run.output_dir": tmp_path / "b"}), TORCHINDUCTOR_CACHE_DIR=str(cache)
    )
    assert again.returncode == 0, again.stderr
    assert "unfinished files of an interrupted run" in again.stderr
    assert metrics(tmp_path / "a")[-1]["loss/total"] == metrics(tmp_path / "b")[-1]["loss/total"]


def test_a_short_run_is_not_compiled_and_nothing_is_changed_by_the_measurement(toy_inputs: Path) -> None:
    work, options = work_of(toy_inputs, passes=10)
    weights = {name: weight.clone() for name, weight in work.trainees[0].named_parameters()}
    state = torch.get_rng_state()
    choice = choose_compilation(*options, work, ALONE, {})
    assert choice.by == "never" and re.fullmatch(
        r"in a run of about [\d.]+ s compiling costs more than it saves; --run.compile always compiles all the same",
        choice.reason,
    )
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in work.trainees[0].named_parameters():
        assert weight.grad is None and torch.equal(weight, weights[name])


@pytest.mark.parametrize(("compiled_ms", "by"), [(60.0, "always"), (99.0, "never"), (140.0, "never")])
def test_a_long_run_takes_what_measures_faster(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, compiled_ms: float, by: str
) -> None:
    work, options = work_of(toy_inputs, passes=100_000)
    milliseconds = iter([150.0, 100.0, compiled_ms])  # the first pass, later ones, compiled
    monkeypatch.setattr(compilation, "compiler_problem", lambda stage, device: None)
    monkeypatch.setattr(compilation, "_seconds_of_pass", lambda *_: next(milliseconds) / 1000)
    choice = choose_compilation(*options, work, ALONE, {})
    assert choice == Choice(by, f"measured: 100 ms a pass as written, {compiled_ms:.0f} ms compiled")


def test_a_compiler_that_fails_is_told_and_done_without(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work, options = work_of(toy_inputs, passes=10**9)

    def broken(*_: object) -> None:
        raise RuntimeError("ld: cannot find -lgomp\nmore")

    monkeypatch.setattr(compilation, "compiler_problem", lambda stage, device: None)
    monkeypatch.setattr(Trainee, "compile_passes", broken)
    assert choose_compilation(*options, work, ALONE, {}) == Choice("never", "it fails here")
    said = capsys.readouterr().err
    assert "compiling both models, to see whether it pays" in said
    assert "warning: torch.compile is not used, as it fails here: ld: cannot find -lgomp\n" in said


def test_what_is_asked_for_or_remembered_is_not_measured(toy_inputs: Path) -> None:
    work, options = work_of(toy_inputs)
    assert choose_compilation(*options, work, ALONE, {"run.compile": "always"}) == Choice(
        "always", "as in the checkpoint"
    )
    work, options = work_of(toy_inputs, **{"run.compile": "never"})
    assert choose_compilation(*options, work, ALONE, {"run.compile": "always"}) == Choice("never", "asked for")


def test_without_a_compiler_it_is_not_tried(toy_inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    # Not by monkeypatch, which would take the setting away at the end.
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        _check_without_compiler(toy_inputs)


def _check_without_compiler(toy_inputs: Path) -> None:
    work, options = work_of(toy_inputs, passes=10**9)
    assert choose_compilation(*options, work, ALONE, {}).reason == "there is no C++ compiler; install g++"
    config, settings = work_of(toy_inputs, **{"run.compile": "always"})[1]
    with pytest.raises(
        ValueError, match=r"--run.compile always \(asked for\): .* install g\+\+, or --run.compile never"
    ):
        check_choices(config, settings, CPU, {})


def test_what_cannot_be_compiled_is_refused(toy_inputs: Path) -> None:
    config, settings = work_of(toy_inputs, deepspeed="zero3", **{"run.compile": "always"})[1]
    with pytest.raises(ValueError, match="--run.compile always .*: ZeRO stage 3 .*; take stage 2 or less"):
        check_choices(config, settings, CPU, {})
    mlm = ["--data.shards", "x", "--objective.name", "mlm", "--teacher.tokenizer", "x", "--run.compile", "always"]
    with pytest.raises(ConfigError, match=r"--run.compile always: batches of masked tokens"):
        load_config(mlm)


def test_more_models_than_one_piece_of_code_is_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a run of several students has them."""
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 2)
    traced_only = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", lambda function, options=None, **more: traced_only(function, **more))
    batch = {name: tensor for name, tensor in padded_batch(4).items() if name != "attention_mask"}
    for layers in range(1, 5):
        model = build_student(bert_config(layers, hidden=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
        found = compiled.compiled_run(model, batch["input_ids"].shape, frozen=False)(batch)
        expected = run_captured(model, batch)
        assert torch.allclose(found.hidden_states[-1], expected.hidden_states[-1], atol=1e-6)
