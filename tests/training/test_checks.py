"""Every finding, provoked: of a run's start, which refuses on failures, and of the doctor, by the same functions."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from deepspeed.accelerator import get_accelerator
from transformers import BertConfig, BertModel

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import load_config
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from megatinybert.corpus.shards import bin_path, open_corpus
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.models.apex import ApexState
from megatinybert.programs.distil import distil
from megatinybert.programs.distil import look as look_at
from megatinybert.runtime import versions
from megatinybert.runtime.dist import World, is_raised_by_all
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.runtime.trainees import Trainees
from megatinybert.training import checks, disk
from megatinybert.training.checkpoints.checkpoint import save
from megatinybert.training.disk import check_output_folder, check_room, checkpoint_bytes, size
from megatinybert.training.engine import build_engine
from megatinybert.training.step import rank_micro_batches, train_step
from tests.helpers.toys import REPOSITORY, WORDS, recipe, write_dataset, write_student_shape, write_teacher

CPU = torch.device("cpu")


def look(inputs: Path, folder: Path, ranks: int = 1, **overrides: object) -> Findings:
    """What is found on a toy run with these options."""
    findings = Findings()
    options = recipe(inputs, **{"run.output_dir": folder / "run", **overrides})
    look_at(load_config(options), World(0, ranks, CPU), findings)
    return findings


def expect(findings: Findings, level: str, subject: str, *texts: object) -> None:
    """There is such a finding, and it is the only one of its subject that is not ok."""
    found = [each for each in findings.all if each.subject == subject and each.level != "ok"]
    assert [each.level for each in found] == [level], findings.all
    for text in texts:
        assert str(text) in found[0].text


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


@pytest.fixture(scope="module")
def shards(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with a validation split, made with the toy teacher's tokenizer. Do not write there."""
    documents = (" ".join(WORDS[(7 * d + i * i) % len(WORDS)] for i in range(40)) for d in range(200))
    return build_shards(toy_inputs, tmp_path_factory.mktemp("shards"), documents, 0.1)


def build_shards(inputs: Path, folder: Path, documents: Iterable[str], validation_fraction: float) -> Path:
    """Shards of these documents in a folder within `folder`, made with the toy teacher's tokenizer."""
    (folder / "text.txt").write_text("\n\n".join(documents) + "\n")
    options = BuildOptions(
        input=[str(folder / "text.txt")],
        tokenizer=str(inputs / "teacher"),
        output=folder / "shards",
        validation_fraction=validation_fraction,
        workers=1,
    )
    build_corpus(options)
    return options.output


@pytest.mark.usefixtures("pinned_versions")
def test_a_run_as_it_should_be_has_nothing_to_look_at(
    toy_inputs: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(torch.get_num_threads()))
    monkeypatch.setattr("megatinybert.training.size.LEAST_TOKENS", 1_000)
    more = {"data.shards": shards, "data.held_out_windows": 32, "optimizer.learning_rate": 0.02, "deepspeed": "auto"}
    findings = look(toy_inputs, tmp_path, **more)
    assert {finding.level for finding in findings.all} == {"ok"}, findings.all
    assert not (tmp_path / "run").exists()


def test_what_zero_sends_is_told_of_several_ranks(toy_inputs: Path, tmp_path: Path) -> None:
    for ranks, expected in ((1, []), (2, ["ok"])):
        findings = look(toy_inputs, tmp_path, ranks, deepspeed="zero1")
        assert [each.level for each in findings.all if each.subject == "network"] == expected, findings.all


def test_all_failures_are_told_together(toy_inputs: Path, tmp_path: Path) -> None:
    """Of models, data, DeepSpeed file, batch and output folder, at the start of a run."""
    (tmp_path / "run").write_text("in the way")
    (tmp_path / "ds.json").write_text('{"zero_optimisation": {}}')
    shape = write_student_shape(tmp_path / "shape", layers=3, heads=2, max_position_embeddings=12)
    overrides: dict[str, object] = {
        "student.config": shape,
        "data.shards": tmp_path / "nothing",
        "data.held_out_windows": 4,
        "objective.layer_map": "[0, 1]",
        "deepspeed": tmp_path / "ds.json",
        "run.output_dir": tmp_path / "run",
        "run.global_batch": 12,
        "run.micro_batch": 4,
    }
    with pytest.raises(ValueError) as caught, pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.distributed.all_gather_object", lambda said, own: None)
        distil(load_config(recipe(toy_inputs, **overrides)), World(0, 2, CPU))
    told = str(caught.value).splitlines()
    assert told[0] == "7 problems:"
    for text in (
        "--run.global_batch 12",
        "zero_optimisation",
        "the 12 positions of --student.config",
        "--objective.layer_map [0, 1] names 2",
        "2 heads",
        f"{tmp_path / 'nothing'} is neither",
        "is a file, not a folder",
    ):
        assert any(text in line for line in told), (text, told)


def test_a_failure_of_another_rank_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as shards that one machine lacks."""
    said = [["both"], ["both", "no shards"], ["no shards"]]
    monkeypatch.setattr("torch.distributed.all_gather_object", lambda into, _: into.__setitem__(slice(None), said))
    with pytest.raises(ValueError) as caught:
        World(0, 3, CPU).refuse(["both"])
    assert is_raised_by_all(caught.value)
    assert str(caught.value) == "2 problems:\n- both\n- on rank 1 and 1 more: no shards"


def test_the_ranges_of_versions_are_those_of_the_project() -> None:
    pins = dict(re.findall(r"^(\w+)==(.*)$", (REPOSITORY / "requirements.txt").read_text(), re.M))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    for name, wanted in versions.PACKAGES.items():
        assert wanted.tested == pins[name]
        assert name + wanted.needed in project["dependencies"]
    assert project["requires-python"] == f">={versions.PYTHONS[0]}"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({}, ["ok"]),
        ({"torch": "2.13.1+cu130"}, ["ok"]),
        ({"torch": "2.13.0a0+gitb0c4b53"}, ["ok"]),
        ({"torch": "2.11.0rc1"}, ["warn"]),
        ({"torch": "2.14.0"}, ["warn"]),
        ({"torch": "2.10.0"}, ["fail"]),
        ({"deepspeed": "0.20.1"}, ["fail"]),
        ({"transformers": "6.0.0", "deepspeed": ""}, ["fail", "fail"]),
    ],
)
def test_versions(installed: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        found = installed.get(name, versions.PACKAGES[name].tested)
        if not found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = versions.check_versions()
    assert levels(findings) == expected
    for finding in findings:
        assert finding.level == "ok" or "pip install '" in finding.text


@pytest.mark.usefixtures("pinned_versions")
def test_another_python_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert "Python 3.14.0" in versions.check_versions()[0].text
    assert levels(versions.check_versions()) == ["warn"]


@pytest.mark.parametrize(
    ("cores", "threads", "ranks", "expected"),
    [(8, 8, 1, ""), (8, 2, 4, ""), (8, 8, 4, "OMP_NUM_THREADS=2"), (8, 1, 1, "OMP_NUM_THREADS=8"), (2, 1, 4, "")],
)
def test_threads(cores: int, threads: int, ranks: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    finding = checks.check_threads(ranks, CPU)
    assert finding.level == ("warn" if expected else "ok") and expected in finding.text


@pytest.mark.parametrize(
    ("kind", "level"), [("missing", "ok"), ("usable", "ok"), ("unrelated", "warn"), ("without CUDA kernels", "warn")]
)
def test_apex(kind: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "apex_state", lambda: ApexState(kind, "what it is"))  # type: ignore[arg-type]
    assert checks.check_apex() == Finding(level, "apex", "what it is")  # type: ignore[arg-type]


def test_the_accelerator_is_named_with_its_speed() -> None:
    text = checks.check_accelerator(CPU).text
    assert re.search(r"\d cores; matrix products: .* TFLOP/s in fp32 .*, .* TFLOP/s in bf16", text), text


def test_fp16_where_deepspeed_does_not_run_it(
    toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_accelerator(), "is_fp16_supported", lambda: False)
    expect(look(toy_inputs, tmp_path, deepspeed="zero2-fp16"), "fail", "precision", "zero2-fp16.json", "zero2-bf16")


def test_16_bits_without_instructions_for_them(
    toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "computes_bfloat16", lambda device: False)
    expect(look(toy_inputs, tmp_path, deepspeed="zero1-bf16"), "warn", "precision", "zero1-bf16.json", "take")
    findings = look(toy_inputs, tmp_path, **{"teacher.dtype": "bf16"})
    expect(findings, "warn", "precision", "--teacher.dtype bf16", "no instructions", "take auto")


@pytest.mark.parametrize(("name", "level"), [("zero1", "warn"), ("zero1-autocast", "ok"), ("zero2-bf16", "ok")])
def test_a_float32_student_on_a_gpu_with_16_bits(
    name: str, level: str, toy_inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "computes_bfloat16", lambda device: True)
    settings = load_ds_config(name, load_config(recipe(toy_inputs)), 1)
    (finding,) = checks.check_precision(settings, None, torch.device("cuda"))
    assert finding.level == level and (level == "ok" or "such as zero1-autocast" in finding.text)
    (finding,) = checks.check_precision(settings, None, CPU)
    assert finding.level == level and (level == "ok" or "up to half as long" in finding.text)


def test_positions(toy_inputs: Path, tmp_path: Path) -> None:
    findings = look(toy_inputs, tmp_path, **{"data.sequence_length": 65})
    assert levels([each for each in findings.all if each.subject == "positions"]) == ["fail", "fail"]  # of both models


@pytest.mark.parametrize(("ids", "level"), [(4, "warn"), (5, "ok"), (10, "ok"), (11, "fail")])
def test_a_tokenizer_knows_what_its_model_does(ids: int, level: str) -> None:
    shape = BertConfig(vocab_size=10)
    found = checks.check_tokenizer("words", SpecialIds(0, 1, 2, 3, ids), "f" * 64, "--teacher.model t", shape)
    assert (found.level, found.subject) == (level, "tokenizer")
    assert f"{ids} ids" in found.text and ("10" in found.text or level == "ok")


def test_pickled_weights(toy_inputs: Path, tmp_path: Path) -> None:
    teacher = write_teacher(tmp_path / "teacher")
    torch.save(BertModel.from_pretrained(teacher).state_dict(), teacher / "pytorch_model.bin")
    assert not [each for each in look(toy_inputs, tmp_path).all if each.subject == "teacher"]
    (teacher / "model.safetensors").unlink()
    findings = look(toy_inputs, tmp_path, **{"teacher.model": teacher})
    expect(findings, "warn", "teacher", "pytorch_model.bin", "save_pretrained")


def test_a_student_larger_than_its_teacher(toy_inputs: Path, tmp_path: Path) -> None:
    shape = write_student_shape(tmp_path / "shape", layers=4, hidden=48)
    expect(look(toy_inputs, tmp_path, **{"student.config": shape}), "warn", "models", "smaller shape", shape)


def test_a_student_without_segments(toy_inputs: Path, tmp_path: Path) -> None:
    shape = write_student_shape(tmp_path / "shape", type_vocab_size=1)
    expect(look(toy_inputs, tmp_path, **{"student.config": shape}), "warn", "models", "type_vocab_size")


def test_token_ids_outside_the_vocabulary(toy_inputs: Path, tmp_path: Path) -> None:
    """In the middle of the corpus, where the first batches would not meet them."""
    corpus = write_dataset(tmp_path / "corpus", tokens=40_000)
    ids = np.memmap(bin_path(corpus), dtype=np.uint16, mode="r+")
    ids[15_000:25_000] = 200
    ids.flush()
    expect(look(toy_inputs, tmp_path, **{"data.shards": corpus}), "fail", "shards", "token id 200", "vocabulary")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: next(folder.glob("train*.bin")).unlink(), "is missing"),
        (lambda folder: next(folder.glob("train*.idx")).open("ab").write(b"x"), "but the manifest says"),
        (lambda folder: next(folder.glob("valid*.bin")).unlink(), "is missing"),
        (lambda folder: (folder / "manifest.json").rename(folder / "progress.json"), "is unfinished"),
    ],
)
def test_damaged_shards(
    toy_inputs: Path, shards: Path, tmp_path: Path, damage: Callable[[Path], object], text: str
) -> None:
    shutil.copytree(shards, tmp_path / "damaged")
    damage(tmp_path / "damaged")
    expect(look(toy_inputs, tmp_path, **{"data.shards": tmp_path / "damaged"}), "fail", "shards", "damaged", text)


def test_shards_are_looked_at_without_a_teacher(toy_inputs: Path, tmp_path: Path) -> None:
    findings = look(toy_inputs, tmp_path, **{"teacher.model": tmp_path / "no", "data.shards": tmp_path / "nothing"})
    assert [each.subject for each in findings.all if each.level == "fail"] == ["teacher", "shards"]


def test_many_passes_over_little_text(toy_inputs: Path, tmp_path: Path) -> None:
    findings = look(toy_inputs, tmp_path, **{"run.max_steps": 500})
    expect(findings, "warn", "corpus", "4,000 tokens", "296 windows", "13.5 passes", "--run.max_steps 370")


def test_the_last_step_of_the_tenth_pass_may_go_beyond_it(toy_inputs: Path, tmp_path: Path) -> None:
    findings = look(toy_inputs, tmp_path, **{"run.max_steps": "null", "run.epochs": 10, "run.global_batch": 12})
    assert not [each for each in findings.all if each.subject == "corpus" and each.level == "warn"]


def test_a_corpus_without_validation_split(toy_inputs: Path, tmp_path: Path) -> None:
    text = "last windows of the corpus, which has no validation split"
    found = look(toy_inputs, tmp_path)
    expect(found, "warn", "held-out text", "12 windows", text, "--validation-fraction")
    assert "--data.sequence_length" not in "".join(each.text for each in found.all if each.subject == "held-out text")


def test_of_text_without_a_validation_split_no_option_of_another_program_is_named(
    toy_inputs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "small.txt"
    file.write_text("\n\n".join(" ".join(WORDS) for _ in range(4)))
    given = {"data.shards": "null", "data.text": file, "data.cache": tmp_path / "cache"}
    found = look(toy_inputs, tmp_path, **given)
    expect(found, "warn", "held-out text", "no validation split", "Of more documents, some are held out")
    assert "--validation-fraction" not in "".join(each.text for each in found.all)


def test_a_validation_split_that_is_shorter_than_a_window(toy_inputs: Path, tmp_path: Path) -> None:
    """Its length, the window's, and what makes it usable are told; it is not said to be missing."""
    documents = (" ".join(WORDS[(7 * d + i) % len(WORDS)] for i in range(5)) for d in range(100))
    made = build_shards(toy_inputs, tmp_path, documents, 0.05)
    tokens = open_corpus(made, "validation").n_tokens
    assert 0 < tokens < 60
    found = look(toy_inputs, tmp_path, **{"data.shards": made, "data.sequence_length": 60})
    lack = f"whose validation split has {tokens} tokens, fewer than a window of 60"
    expect(found, "warn", "held-out text", lack, "larger --validation-fraction", "a shorter --data.sequence_length")


def test_held_out_windows_too_few_for_the_probe(toy_inputs: Path, shards: Path, tmp_path: Path) -> None:
    """What gives more is named: the option where it limits, else text."""
    by_option = "To have 32 or more, raise --data.held_out_windows above 31"
    by_text = "give 2.1 times as much text"
    for options, *texts in (
        ({"data.shards": shards, "data.held_out_windows": 31}, "31 windows", "by up to 0.1 by chance. ", by_option),
        ({"data.held_out_windows": 32}, "15 windows", "by up to 0.14 by chance. ", by_text),
    ):
        expect(look(toy_inputs, tmp_path, **options), "warn", "held-out text", *texts)
    long = {"data.shards": shards, "data.sequence_length": 60, "data.held_out_windows": 32}
    expect(
        look(toy_inputs, tmp_path, **long), "warn", "held-out text", "or build the shards with a larger --validation-"
    )
    found = look(toy_inputs, tmp_path, **{"data.shards": shards, "data.held_out_windows": 32})
    assert Finding("ok", "held-out text", "32 windows, validation split") in found.all


def test_held_out_windows_too_few_for_any_probe(toy_inputs: Path, tmp_path: Path) -> None:
    found = look(toy_inputs, tmp_path, **{"data.sequence_length": 96, "data.held_out_windows": 256})
    expect(found, "warn", "held-out text", "No probe is measured on 2 held-out windows: it needs 3 or more. To have")


def test_little_text_is_told_in_tokens_and_megabytes(toy_inputs: Path, tmp_path: Path) -> None:
    least = "give 200,000 tokens or more, about 1 MB of English or 0.5 MB of Chinese"
    expect(look(toy_inputs, tmp_path), "warn", "amount of text", "4,000 tokens are little text", least)


def test_a_warm_up_as_long_as_the_run(toy_inputs: Path, tmp_path: Path) -> None:
    expect(look(toy_inputs, tmp_path, **{"schedule.warmup_steps": 4}), "warn", "schedule", "--schedule.warmup_steps")


def test_weights_that_learn_nothing(toy_inputs: Path, tmp_path: Path) -> None:
    overrides = {"objective.hidden_weight": 0, "objective.embedding_weight": 0}
    expect(look(toy_inputs, tmp_path, **overrides), "warn", "first batch", "no gradient", "encoder.layer.1.output")


def test_attention_maps_of_layers_that_are_not_there(toy_inputs: Path, tmp_path: Path) -> None:
    findings = look(toy_inputs, tmp_path, **{"monitor.attention_interval": 2, "monitor.attention_layers": "[7]"})
    expect(findings, "fail", "attention maps", "--monitor.attention_layers")


def test_output_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        finding = check_output_folder(folder)
        assert finding and finding.level == "fail" and "is a file" in finding.text
    assert check_output_folder(tmp_path / "a" / "b") is None
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = check_output_folder(tmp_path / "a" / "b")
    assert finding and f"{tmp_path} cannot be written to" in finding.text


@pytest.mark.parametrize(
    ("free", "level", "options"),
    [
        (2.9, "warn", {"run.save_interval": 1}),
        (0.9, "fail", {"run.save_interval": 1}),
        (3.1, "ok", {"run.save_interval": 1}),
        (2.1, "ok", {"run.save_interval": 2}),  # which makes two
        (2.9, "warn", {"run.save_interval": 2, "student.init": "solved"}),  # and one of step 0
        (3.1, "ok", {"run.save_interval": 2, "student.init": "solved"}),
        (3.9, "warn", {"run.save_interval": 1, "run.keep_every": 1}),
        (4.1, "ok", {"run.save_interval": 1, "run.keep_every": 1}),
    ],
)
def test_disk(
    toy_inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: float,
    level: str,
    options: dict[str, object],
) -> None:
    """Of four steps. Two checkpoints are kept, and a third is there while it is written."""
    one = 4896 * 16
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free * one))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    findings = look(toy_inputs, tmp_path, **options)
    found = next(each for each in findings.all if each.subject == "disk")
    assert found.level == level and f"a checkpoint takes {size(one)}" in found.text
    option = "raise --run.keep_every" if "run.keep_every" in options else "lower --run.keep_checkpoints"
    assert found.text.endswith(f"free some, or {option}") == (level == "warn")


def test_checkpoints_that_are_there_need_no_more_room(
    toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (5, 10):
        (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    one = 1000 * 16
    usage = shutil.disk_usage(tmp_path)._replace(free=int(1.1 * one))
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    config = load_config(recipe(toy_inputs, **{"run.output_dir": tmp_path / "run"}))
    needed = checkpoint_bytes(1000, load_ds_config("zero1", config, 1), config.optimizer.name)
    assert check_room(tmp_path / "run", config.run, [5, 10, 15], {tmp_path / "run": needed}).level == "ok"


@pytest.mark.parametrize(
    ("deepspeed", "optimizer"),
    [(name, "adamw") for name in ("zero0", "zero1", "zero1-autocast", "zero1-bf16", "zero2", "zero3", "zero3-bf16")]
    + [("zero0", "sgd"), ("zero1", "sgd")],
)
def test_bytes_of_a_checkpoint(world: World, toy_inputs: Path, tmp_path: Path, deepspeed: str, optimizer: str) -> None:
    shape = write_student_shape(tmp_path / "shape", layers=2, hidden=64)
    overrides = {"student.config": shape, "deepspeed": deepspeed, "optimizer.name": optimizer}
    config = load_config(recipe(toy_inputs, **overrides))
    findings = Findings()
    ready = look_at(config, world, findings)
    assert ready is not None, findings.all
    stage = ready.first.stage
    parameters = sum(parameter.numel() for parameter in stage.trainee.parameters())
    trainees = Trainees({"student": build_engine(stage.trainee, config.optimizer, stage.settings)})
    batches = rank_micro_batches(stage.data, 0, 8, 4, world)
    train_step(trainees, stage.teacher, batches, 0, 0, {"student": 0.01})  # AdamW's means are made by the first update
    save(tmp_path / "checkpoints", trainees, 1, {}, world, keep=1)
    written = sum(path.stat().st_size for path in tmp_path.rglob("checkpoints/**/*.pt"))
    expected = checkpoint_bytes(parameters, stage.settings, optimizer)
    assert expected <= written < 1.05 * expected + 60_000


@pytest.mark.parametrize(("line", "level", "share"), [("{0} {1} ☃", "warn", "33.3"), ("{0} ☃ ☂", "fail", "66.7")])
def test_what_spoils_a_text_is_a_warning_and_mostly_unknown_it_is_refused(
    line: str, level: str, share: str, toy_inputs: Path, shards: Path, tmp_path: Path
) -> None:
    (finding,) = checks.check_text([str(shards), str(tmp_path / "a-megatron-prefix")])
    assert finding == Finding("ok", "text", f"tokens that are [UNK]: 0.00% of {shards}")
    (tmp_path / "text.txt").write_text(f"{line.format(*WORDS)}\n" * 2000)
    options = BuildOptions(
        input=[str(tmp_path / "text.txt")],
        tokenizer=str(toy_inputs / "teacher"),
        output=tmp_path / "spoilt",
        workers=1,
    )
    build_corpus(options)
    findings = look(toy_inputs, tmp_path, **{"data.shards": tmp_path / "spoilt"})
    expect(findings, level, "text", f"{share} % of the tokens are [UNK]", tmp_path / "spoilt")
