"""Masked-language modelling by launch/general.sh: a whole model from nothing, and a head on a body that stays."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM

from megatinybert.config.load import ConfigError, dump_yaml, load_config
from megatinybert.corpus.shards import bin_path, idx_path, write_index
from megatinybert.models.capture import run_captured
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.masked_lm import build_mlm_model, has_mlm_head
from megatinybert.programs import report
from megatinybert.programs.distil import distil, look
from megatinybert.programs.ending import ending
from megatinybert.programs.estimate import estimate
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from tests.helpers.processes import GENERAL, kill_at_step, start
from tests.helpers.toys import bert_config, metrics, recipe, run_general
from tests.helpers.warm_python import warm_python

WITHOUT_EFFECT = ("teacher.model", "teacher.dtype", "monitor.attention_interval")


def options(inputs: Path, output: Path, **overrides: object) -> list[str]:
    """Of a small run without a teacher: a whole model from nothing, unless `overrides` say otherwise."""
    general = recipe(inputs, **{"run.output_dir": output})
    given = dict(zip(general[::2], general[1::2], strict=True))
    kept = {name: value for name, value in given.items() if name.removeprefix("--") not in WITHOUT_EFFECT}
    own = {"objective.name": "mlm", "teacher.tokenizer": inputs / "teacher", **overrides}
    merged = kept | {f"--{name}": str(value) for name, value in own.items()}
    return [part for pair in merged.items() for part in pair]


def on_the_teachers_body(inputs: Path) -> dict[str, object]:
    teacher = inputs / "teacher"
    return {"mlm.train": "head", "student.init": teacher, "student.config": teacher, "teacher.tokenizer": "null"}


@pytest.fixture(scope="module")
def from_nothing(world: World, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run that trains a whole model."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    corpus = folder.parent / "corpus"
    tokens = 5 + np.minimum(np.random.default_rng(0).geometric(0.6, 4000), 94)  # six in ten are the same word
    bin_path(corpus).write_bytes(tokens.astype(np.uint16).tobytes())
    write_index(idx_path(corpus), np.dtype(np.uint16), np.full(40, 100), np.arange(1, 41))
    more = {"data.shards": corpus, "run.max_steps": 60, "run.held_out_interval": 30}
    done = run_general(options(toy_inputs, folder, **more), python=warm_python())
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def head_alone(world: World, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a run that trains a head on the toy teacher, with 16-bit weights."""
    folder = tmp_path_factory.mktemp("head") / "run"
    more = on_the_teachers_body(toy_inputs) | {"deepspeed": "zero1-bf16", "run.max_steps": 6}
    distil(load_config(options(toy_inputs, folder, **more)), world)
    return folder


def test_a_model_from_nothing_learns_to_find_masked_tokens(from_nothing: Path) -> None:
    measured = [row for row in metrics(from_nothing) if "held_out/total" in row]
    assert [row["step"] for row in measured] == [0, 30, 60]
    assert measured[-1]["held_out/total"] < measured[0]["held_out/total"] - 1
    assert measured[-1]["held_out/accuracy"] > 0.2 > measured[0]["held_out/accuracy"]
    for row in measured:
        assert row["held_out/total"] == row["held_out/mlm"] and 0 <= row["held_out/accuracy"] <= 1
        assert "held_out/probe" not in row
    facts = json.loads((from_nothing / "checkpoints" / "step-00000060" / "state.json").read_text())["facts"]
    assert facts["objective"] == {"name": "mlm", "train": "whole", "probability": 0.15}
    assert facts["teacher"] is None


def test_what_is_exported_is_a_masked_lm_of_plain_transformers(from_nothing: Path) -> None:
    """Its logits are those that the training saw, at every place."""
    student = from_nothing / "student"
    plain = AutoModelForMaskedLM.from_pretrained(student).eval()
    assert type(plain) is BertForMaskedLM and plain.config.architectures == ["BertForMaskedLM"]
    assert plain.cls.predictions.decoder.weight is plain.bert.embeddings.word_embeddings.weight
    ids = AutoTokenizer.from_pretrained(student)("w1 w2 [MASK] w4", return_tensors="pt")
    ours = build_mlm_model(read_bert_config(str(student), "model"), str(student), "whole", seed=0).eval()
    places = torch.arange(ids["input_ids"].shape[1])[None]
    with torch.no_grad():
        logits = run_captured(ours, {**ids, "masked_positions": places}).logits
        assert torch.allclose(logits, plain(**ids).logits, atol=1e-5)


def test_the_record_repeats_the_run_and_the_card_is_of_a_masked_lm(from_nothing: Path) -> None:
    config = load_config(["--config", str(from_nothing / "config.yaml")])
    written = yaml.safe_load((from_nothing / "config.yaml").read_text())
    assert written.keys() & {"monitor"} == set() and written["objective"] == {"name": "mlm"}
    assert config.mlm.probability == 0.15 and config.teacher.model is None
    card = (from_nothing / "student" / "README.md").read_text()
    assert "AutoModelForMaskedLM" in card and "fill-mask" in card
    assert f"| accuracy ({_masked_of(from_nothing)} masked tokens) |" in card
    assert "teacher" not in card
    exported = sum(weight.numel() for weight in load_file(from_nothing / "student" / "model.safetensors").values())
    assert f"{exported:,} parameters with masked-LM head" in card and "pooler" not in card
    assert (from_nothing / "student" / "loss.png").stat().st_size > 10_000


def test_the_report_has_one_model_and_its_accuracy(from_nothing: Path) -> None:
    found = report.make_report(*report.read_run(from_nothing), from_nothing)
    rows = metrics(from_nothing)
    assert found.teacher is None and found.speed_up is None and found.probe is None
    assert found.accuracy == (rows[0]["held_out/accuracy"], rows[-1]["held_out/accuracy"])
    text, name = report.table(found), f"accuracy ({_masked_of(from_nothing)} masked tokens) "
    assert name in text and name in ending(from_nothing)
    assert "Accuracy: " in text and "loss: mlm" in text and "teacher" not in text
    exported = sum(weight.numel() for weight in load_file(from_nothing / "student" / "model.safetensors").values())
    assert found.student.parameters == exported


def _masked_of(run: Path) -> int:
    """Masked tokens of the held-out text, alike at every measurement."""
    (count,) = {row["held_out/masked_tokens"] for row in metrics(run) if "held_out/total" in row}
    assert count == int(count) > 20
    return int(count)


def test_the_doctors_estimate(world: World, toy_inputs: Path, tmp_path: Path) -> None:
    config, findings = load_config(options(toy_inputs, tmp_path / "run")), Findings()
    ready = look(config, world, findings)
    assert ready is not None, findings.texts("fail")
    assert not {finding.subject for finding in findings.all} & {"teacher", "layer map", "attention maps"}
    found = estimate(ready, 1, world, seconds=0.1)
    assert [each.name for each in found.occasions] == ["held-out measurement", "checkpoint"]


def test_a_frozen_body_is_exported_bit_for_bit_as_it_was(head_alone: Path, toy_inputs: Path) -> None:
    folders = toy_inputs / "teacher", head_alone / "student"
    before, after = (load_file(folder / "model.safetensors") for folder in folders)
    body = {name: weight for name, weight in before.items() if not name.startswith("pooler.")}
    assert len(body) > 40
    for name, weight in body.items():
        assert torch.equal(after[f"bert.{name}"], weight), name
    first = build_mlm_model(bert_config(), str(toy_inputs / "teacher"), "head", seed=0)
    for name, weight in first.cls.named_parameters():
        if name != "predictions.decoder.weight":
            assert not torch.equal(after[f"cls.{name}"], weight), f"{name} was not trained"
    state = json.loads((head_alone / "checkpoints" / "step-00000006" / "state.json").read_text())
    assert state["facts"]["frozen weights"]


@pytest.mark.parametrize("train", ["whole", "head"])
def test_a_continued_run_is_the_uninterrupted_one(world: World, toy_inputs: Path, tmp_path: Path, train: str) -> None:
    more = on_the_teachers_body(toy_inputs) if train == "head" else {}
    every = {"run.max_steps": 5, "run.save_interval": 3} | more
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    distil(load_config(options(toy_inputs, whole, **every)), world)
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "step-00000005")  # as if it had ended after step 3
    shutil.rmtree(parts / "student")
    distil(load_config(options(toy_inputs, parts, **every)), world)
    one, other = (load_file(folder / "student" / "model.safetensors") for folder in (whole, parts))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    losses = [[row.get("loss/total") for row in metrics(folder)] for folder in (whole, parts)]
    assert losses[0] == losses[1] and len(losses[0]) == 6


@pytest.mark.slow
@pytest.mark.parametrize("train", ["whole", "head"])
def test_a_killed_run_ends_as_if_nothing_had_happened(toy_inputs: Path, tmp_path: Path, train: str) -> None:
    more = {"run.max_steps": 12, "run.save_interval": 2}
    more |= on_the_teachers_body(toy_inputs) if train == "head" else {}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_general(options(toy_inputs, whole, **more)).returncode == 0
    process = start([sys.executable, *GENERAL, *options(toy_inputs, killed, **more)], tmp_path / "log")
    assert kill_at_step(process, killed, 5) < 12
    assert run_general(options(toy_inputs, killed, **more)).returncode == 0
    one, other = (load_file(folder / "student" / "model.safetensors") for folder in (whole, killed))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("train", ["whole", "head"])
@pytest.mark.parametrize("stage", ["zero0", "zero2", "zero3"])
def test_every_stage_trains_and_exports(world: World, toy_inputs: Path, tmp_path: Path, train: str, stage: str) -> None:
    """The tied matrix and frozen weights go through ZeRO; the result is that of stage 1, but for rounding."""
    results = []
    for name in ("zero1", stage):
        more = {"deepspeed": name, "run.max_steps": 2}
        more |= on_the_teachers_body(toy_inputs) if train == "head" else {}
        distil(load_config(options(toy_inputs, tmp_path / name, **more)), world)
        results.append(load_file(tmp_path / name / "student" / "model.safetensors"))
    assert all(torch.allclose(results[0][key], results[1][key], atol=1e-5) for key in results[0])


@pytest.mark.slow
def test_two_ranks_train_as_one(toy_inputs: Path, tmp_path: Path) -> None:
    results = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        done = run_general(options(toy_inputs, folder, **{"run.max_steps": 3}), ranks)
        assert done.returncode == 0, done.stderr
        results.append((load_file(folder / "student" / "model.safetensors"), metrics(folder)[-1]))
    (one, last), (two, other) = results
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    for tag in ("held_out/total", "held_out/accuracy"):
        assert last[tag] == pytest.approx(other[tag], rel=1e-5)


def prepared(arguments: list[str]) -> Findings:
    findings = Findings()
    look(load_config(arguments), World(0, 1, torch.device("cpu")), findings)
    return findings


def test_a_shipped_shape_takes_the_tokenizers_vocabulary(toy_inputs: Path, tmp_path: Path) -> None:
    arguments = options(toy_inputs, tmp_path / "run", **{"student.config": "3L-312"})
    findings = Findings()
    ready = look(load_config(arguments), World(0, 1, torch.device("cpu")), findings)
    assert ready is not None, findings.texts("fail")
    assert ready.first.stage.trainee.student.config.vocab_size == 100
    assert ready.first.stage.teacher is None and ready.first.stage.pictures is None


def test_a_small_probability_masks_one_token_of_a_window(toy_inputs: Path, tmp_path: Path) -> None:
    findings = prepared(options(toy_inputs, tmp_path / "run", **{"mlm.probability": 0.001}))
    assert not findings.failed
    assert "up to 1 of the 16 tokens of a window" in findings.texts("ok")


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(toy_inputs: Path, tmp_path: Path) -> None:
    bert_config(vocab_size=50).save_pretrained(tmp_path / "small")
    findings = prepared(options(toy_inputs, tmp_path / "run", **{"student.config": tmp_path / "small"}))
    assert any("has 100 ids, --student.config" in text and "only 50" in text for text in findings.texts("fail"))


def mistakes(*arguments: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load_config([*arguments, "--data.shards", "a"])
    return str(raised.value)


def test_mistakes_in_the_options_are_told() -> None:
    mlm = ("--objective.name", "mlm")
    needed = "--teacher.model: required, and not given (a BERT folder in Hugging Face form, or a hub name)"
    assert needed in mistakes() and needed in mistakes("--data.shards", "a", "--run.seed", "x")
    assert "--teacher.tokenizer: required for the objective mlm" in mistakes(*mlm)
    assert "--student.init teacher: the objective mlm has no teacher" in mistakes(*mlm, "--student.init", "teacher")
    assert "--mlm.train head: the body stays" in mistakes(*mlm, "--teacher.tokenizer", "a", "--mlm.train", "head")
    beside = mistakes(*mlm, "--teacher.model", "a", "--objective.layer_map", "top", "--teacher.dtype", "fp32")
    assert beside.count("has no effect beside --objective.name mlm") == 2
    assert "has no effect beside --objective.name tinybert (the default)" in mistakes(
        "--teacher.model", "a", "--mlm.probability", "0.3"
    )


def test_the_printed_configuration_is_read_back(tmp_path: Path) -> None:
    for given in (["--teacher.model", "a"], ["--objective.name", "mlm", "--student.init", "a", "--mlm.train", "head"]):
        config = load_config([*given, "--data.shards", "b"])
        (tmp_path / "recipe.yaml").write_text(dump_yaml(config))
        assert load_config(["--config", str(tmp_path / "recipe.yaml")]) == config


def test_a_head_is_found_and_taken_over(from_nothing: Path, toy_inputs: Path) -> None:
    assert has_mlm_head(str(from_nothing / "student")) and not has_mlm_head(str(toy_inputs / "teacher"))
    config = read_bert_config(str(from_nothing / "student"), "model")
    continued = build_mlm_model(config, str(from_nothing), "whole", seed=5)  # the output folder names its student
    kept = load_file(from_nothing / "student" / "model.safetensors")["cls.predictions.transform.dense.weight"]
    assert torch.equal(continued.cls.predictions.transform.dense.weight, kept)

    def new_head(seed: int) -> Tensor:
        model = build_mlm_model(bert_config(), str(toy_inputs / "teacher"), "head", seed)
        return model.cls.predictions.transform.dense.weight

    assert torch.equal(new_head(1), new_head(1)) and not torch.equal(new_head(1), new_head(2))


def test_a_frozen_body_has_neither_gradients_nor_dropout(toy_inputs: Path) -> None:
    model = build_mlm_model(bert_config(), str(toy_inputs / "teacher"), "head", seed=0).train()
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {
        "cls.predictions.bias",
        *(f"cls.predictions.transform.{part}" for part in ("dense.weight", "dense.bias")),
        *(f"cls.predictions.transform.LayerNorm.{part}" for part in ("weight", "bias")),
    }
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]), "masked_positions": torch.tensor([[1]])}
    assert torch.equal(run_captured(model, batch).logits, run_captured(model, batch).logits)
