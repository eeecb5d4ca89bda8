"""A user's mistake gets a message that names the option, before anything is trained or written."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from deepspeed.accelerator import get_accelerator
from transformers import BertConfig, BertModel, RobertaConfig

from megatinybert.config.load import load_config
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from megatinybert.programs import distil as programs
from megatinybert.programs.distil import distil
from megatinybert.runtime import dist
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from tests.helpers.collectives import all_say_the_same
from tests.helpers.messages import assert_says
from tests.helpers.processes import GENERAL, exit_codes, start, start_ranks
from tests.helpers.toys import VOCABULARY, recipe, run_general, write_dataset, write_student_shape, write_teacher
from tests.helpers.warm_python import warm_python
from tests.scripts.golden import STEPS, golden_options


def refusal(inputs: Path, output: Path, overrides: Mapping[str, object], ranks: int = 1) -> str:
    """The message with which rank 0 of a run refuses; the run has written no file. The other ranks say the same."""
    options = recipe(inputs, **{"run.output_dir": output / "run", **overrides})
    with pytest.raises(ValueError) as caught, pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.all_gather_object", all_say_the_same)
        distil(load_config(options), World(0, ranks, torch.device("cpu")))
    assert not list((output / "run").glob("*"))
    return str(caught.value)


def test_a_mistake_ends_the_program_with_code_2_and_one_line(toy_inputs: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-teacher"
    done = run_general(recipe(toy_inputs, **{"teacher.model": missing, "run.output_dir": tmp_path / "run"}))
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert_says(errors[0], f"--teacher.model {missing}", "cannot read a model configuration")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_rank_that_never_meets_the_others_tells_its_own_mistake(tmp_path: Path) -> None:
    """Of an empty recipe; once on each machine, whose ranks have the same command."""
    (tmp_path / "recipe.yaml").write_text("")
    places = {"a": ("0", "0"), "b": ("2", "0"), "c": ("3", "1")}  # ranks, in all and on their machine
    command = [sys.executable, *GENERAL, "--config", str(tmp_path / "recipe.yaml")]
    ranks = [
        start(command, tmp_path / name, WORLD_SIZE="4", RANK=rank, LOCAL_RANK=local)
        for name, (rank, local) in places.items()
    ]
    assert exit_codes(ranks) == [2, 2, 2]
    first, other, second = ((tmp_path / name).read_text() for name in places)
    assert first.startswith("error: ") and other.startswith("error on rank 2 (") and second == ""
    assert first.count("error") == other.count("error") == 1


def test_another_family_of_teacher_is_refused_by_name(toy_inputs: Path, tmp_path: Path) -> None:
    RobertaConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=4).save_pretrained(tmp_path / "roberta")
    message = refusal(toy_inputs, tmp_path, {"teacher.model": tmp_path / "roberta"})
    assert_says(message, "--teacher.model", "is a roberta model", "only BERT encoders")


def test_a_teacher_without_weights_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    (folder / "model.safetensors").unlink()
    assert_says(refusal(toy_inputs, tmp_path, {"teacher.model": folder}), "teacher", "model.safetensors", folder)


def test_a_teacher_with_a_missing_layer_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher", layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    assert_says(
        refusal(toy_inputs, tmp_path, {"teacher.model": folder}), "--teacher.model", "encoder.layer.2", "no weights"
    )


def test_a_number_of_layers_that_does_not_fit_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"objective.layer_map": "1"})
    assert_says(message, "--objective.layer_map [1] names 1 teacher layers, but the student has 2")


@pytest.mark.parametrize("typed", ["{there}/shpe", "{there}/nothing/at/all"])
def test_a_folder_that_is_missing_is_called_so(typed: str, toy_inputs: Path, tmp_path: Path) -> None:
    write_student_shape(tmp_path / "shape")
    message = refusal(toy_inputs, tmp_path, {"student.init": typed.format(there=tmp_path)})
    assert_says(message, "--student.init", "no such folder")
    assert "Repo id" not in message and (f"did you mean {tmp_path / 'shape'}?" in message) == typed.endswith("shpe")


def test_a_rare_token_without_a_finite_embedding_is_found_before_the_run(toy_inputs: Path, tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    model = BertModel(BertConfig.from_pretrained(folder))
    model.embeddings.word_embeddings.weight.data[77] = torch.nan
    model.save_pretrained(folder)
    message = refusal(toy_inputs, tmp_path, {"teacher.model": folder})
    assert_says(message, f"--teacher.model {folder}", "embeddings of token 77 are not finite")


def test_a_micro_batch_beyond_the_memory_is_refused_with_numbers(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"run.micro_batch": 10**9, "run.global_batch": "null"})
    assert_says(message, "a micro batch of 1,000,000,000 rows of 16 tokens", "are free", "lower --run.micro_batch, to ")


def test_a_cache_that_cannot_be_made_is_named(toy_inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("w1 w2\n")
    overrides = {"data.shards": "null", "data.text": tmp_path / "file", "data.cache": tmp_path / "file" / "cache"}
    assert_says(refusal(toy_inputs, tmp_path, overrides), f"--data.cache {tmp_path / 'file' / 'cache'} cannot be made")


def test_other_options_than_the_checkpoints_are_refused_before_anything_is_opened(
    toy_inputs: Path, golden_run: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("opened")

    def told(**overrides: object) -> str:
        with pytest.raises(ValueError) as caught:
            distil(load_config(golden_options(toy_inputs, golden_run, **overrides)), world)
        return str(caught.value)

    monkeypatch.setattr(programs, "open_family", opened)
    message = told(**{"run.global_batch": 16, "data.sequence_length": 8, "run.seed": 3})
    lines = ["data.sequence_length: 16 there, 8 now", "run.global_batch: 48 there, 16 now", "run.seed: 0 there, 3 now"]
    newest = golden_run / "checkpoints" / f"step-{STEPS:08d}"
    remedy = "set these back to continue it (the same text, models and options), or choose another --run.output_dir"
    remedy = f"\n{remedy} for a new run"
    assert message == "\n  ".join([f"{newest} was written by another kind of run:", *lines]) + remedy
    message = told(**{"run.seed": 3, "data.shards": tmp_path / "other"})
    texts = f"text: --data.shards {toy_inputs / 'corpus'} there, --data.shards {tmp_path / 'other'} now"
    assert_says(message, f"run.seed: 0 there, 3 now\n  {texts}{remedy}")
    other = {"run.output_dir": tmp_path, "run.resume": golden_run / "checkpoints" / f"step-{STEPS - 5:08d}"}
    assert_says(told(**other, **{"optimizer.name": "sgd"}), f"step-{STEPS - 5:08d} was", "optimizer.name: adamw there")
    assert_says(told(**{"run.max_steps": 3}), f"--run.max_steps 3: {newest} has {STEPS} steps behind it")
    for harmless in ({}, {"run.global_batch": "null"}, {"run.resume": "never", "run.seed": 3}, {"run.max_steps": 30}):
        with pytest.raises(AssertionError, match="opened"):
            distil(load_config(golden_options(toy_inputs, golden_run, **harmless)), world)


def test_another_number_of_heads_is_refused_with_advice(toy_inputs: Path, tmp_path: Path) -> None:
    shape = write_student_shape(tmp_path / "shape", heads=2)
    message = refusal(toy_inputs, tmp_path, {"student.config": shape})
    assert_says(message, "2 heads", "the teacher 4", "num_attention_heads 4", "--objective.attention_weight 0")


def test_a_student_of_another_vocabulary_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    shape = write_student_shape(tmp_path / "shape", vocab_size=70)
    message = refusal(toy_inputs, tmp_path, {"student.config": shape})
    assert_says(message, "--student.config", "vocabulary of 70", f"the teacher {len(VOCABULARY)}")


def test_windows_longer_than_a_models_positions_are_refused(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"data.sequence_length": 65})
    assert_says(message, "--data.sequence_length 65", "64 positions of --teacher.model")
    shape = write_student_shape(tmp_path / "shape", max_position_embeddings=32)
    message = refusal(toy_inputs, tmp_path, {"data.sequence_length": 40, "student.config": shape})
    assert_says(message, "--data.sequence_length 40", "32 positions of --student.config")


def test_missing_shards_are_refused(toy_inputs: Path, tmp_path: Path) -> None:
    assert_says(refusal(toy_inputs, tmp_path, {"data.shards": tmp_path / "nothing"}), tmp_path / "nothing")


def test_shards_of_another_tokenizer_are_refused(toy_inputs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "vocab.txt").write_text("\n".join([*VOCABULARY[:5], *"abcdefgh"]) + "\n")
    text = tmp_path / "text.txt"
    text.write_text("a b c d e f g h\n" * 50)
    build_corpus(BuildOptions(input=[str(text)], tokenizer=str(other), output=tmp_path / "shards", workers=1))
    message = refusal(toy_inputs, tmp_path, {"data.shards": tmp_path / "shards"})
    assert_says(message, f"--data.shards {tmp_path / 'shards'}", other, "--teacher.tokenizer")
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "data.shards": tmp_path / "shards"})
    found = Findings()  # as the doctor tells them: not as well, too
    programs.look(load_config(options), World(0, 1, torch.device("cpu")), found)
    assert [finding.level for finding in found.all if finding.subject == "shards"] == ["fail"]


def test_a_tokenizer_larger_than_the_teacher_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher", vocab_size=50)
    shape = write_student_shape(tmp_path / "shape", vocab_size=50)
    message = refusal(toy_inputs, tmp_path, {"teacher.model": teacher, "student.config": shape})
    assert_says(message, "has 100 ids", "--teacher.model", "only 50", "--teacher.tokenizer")


def test_a_launcher_that_names_no_ranks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the four processes would take itself for the whole run."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    with pytest.raises(ValueError, match="SLURM_STEP_NUM_TASKS is 4, but RANK is not set"):
        dist.start()


@pytest.mark.parametrize(("tokens", "expected"), [(10, "needs at least 14 tokens"), (14, "held out")])
def test_a_corpus_that_is_too_short_is_refused(toy_inputs: Path, tmp_path: Path, tokens: int, expected: str) -> None:
    corpus = write_dataset(tmp_path / "short", tokens=tokens)
    assert_says(refusal(toy_inputs, tmp_path, {"data.shards": corpus}), expected, "add text")


def test_a_batch_that_cannot_be_split_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"run.global_batch": 8, "run.micro_batch": 4}, ranks=3)
    assert_says(message, "--run.global_batch 8", "--run.micro_batch 4", "3 ranks", "12")


def test_copying_layers_of_another_width_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"student.init": "teacher"})
    assert_says(message, "--student.init teacher", "hidden_size", "12", "24")


def test_first_weights_of_another_shape_are_refused(toy_inputs: Path, tmp_path: Path) -> None:
    message = refusal(toy_inputs, tmp_path, {"student.init": toy_inputs / "teacher"})
    assert_says(message, f"--student.init {toy_inputs / 'teacher'}", "hidden_size is 24 there and 12")


def test_fp16_is_refused_where_the_device_does_not_run_it(
    toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_accelerator(), "is_fp16_supported", lambda: False)
    message = refusal(toy_inputs, tmp_path, {"deepspeed": "zero2-fp16"})
    assert_says(message, "--deepspeed", "zero2-fp16.json asks for fp16", "zero2-bf16")


def test_weights_that_are_not_finite_are_refused_before_the_first_step(toy_inputs: Path, tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    model = BertModel(BertConfig.from_pretrained(folder))
    model.get_parameter("encoder.layer.3.attention.self.key.weight").data[0, 0] = torch.nan
    model.save_pretrained(folder)
    message = refusal(toy_inputs, tmp_path, {"teacher.model": folder})
    assert_says(message, "before the first step", "attention_1")
    assert "attention_0" not in message


def test_a_loss_that_is_not_finite_stops_both_ranks(toy_inputs: Path, tmp_path: Path) -> None:
    """The message names the first such step and its terms, although losses are read every fifth step only."""
    options = recipe(
        toy_inputs,
        **{
            "run.output_dir": tmp_path / "run",
            "optimizer.learning_rate": 1,
            "optimizer.weight_decay": 1e20,
            "schedule.warmup_steps": 0,
            "run.max_steps": 20,
            "run.log_interval": 5,
            "run.held_out_interval": 10,
            "run.save_interval": 5,
        },
    )
    ranks = start_ranks(2, GENERAL, options, tmp_path, python=warm_python())
    codes = exit_codes(ranks)
    first, second = ((tmp_path / f"rank-{rank}.log").read_text() for rank in (0, 1))
    assert codes == [1, 1], first + second
    message = next(line for line in first.splitlines() if line.startswith("error:"))
    assert_says(message, "step 2: the loss is not finite", "attention_0", "--optimizer.learning_rate")
    assert "error:" not in second and "Traceback" not in first + second
    assert not list((tmp_path / "run").glob("checkpoints/step-*"))
    assert not (tmp_path / "run" / "student").exists()
