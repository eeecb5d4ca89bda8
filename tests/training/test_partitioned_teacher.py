"""A partitioned teacher gives what a plain one gives, to the bit, and no rank keeps it whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from megatinybert.config.teacher_engine import load_teacher_ds_config
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher, load_encoder, size_of
from megatinybert.runtime.dist import World
from megatinybert.training.disk import size
from megatinybert.training.partitioned_teacher import PartitionedTeacher, _home, load_partitioned
from tests.helpers.processes import exit_codes, start_ranks
from tests.helpers.toys import write_teacher
from tests.helpers.warm_python import warm_python


def test_two_ranks_get_the_features_of_a_plain_teacher(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "teacher")
    ranks = start_ranks(2, ["tests/scripts/partitioned.py"], [str(folder)], tmp_path, python=warm_python())
    assert exit_codes(ranks) == [0, 0], (tmp_path / "rank-0.log").read_text()
    for rank in range(2):
        lines = (tmp_path / f"rank-{rank}.log").read_text().splitlines()
        said = [json.loads(line) for line in lines if line.startswith('{"dtype"')]
        assert [each["dtype"] for each in said] == ["torch.float32", "torch.bfloat16"]
        for each in said:
            assert each["equal"] and each["known"]
            assert each["held"] == pytest.approx(0.5, abs=0.01) and each["gathered"] == 0


def load(folder: Path, world: World) -> Teacher:
    raw = load_teacher_ds_config("teacher-zero3", "float32")
    return load_partitioned(str(folder), read_bert_config(str(folder), ""), [2], torch.float32, raw, world)[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_teacher(tmp_path / "teacher", layers=2)


def test_weights_that_are_missing_or_of_another_shape_are_named(folder: Path, world: World) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    weights["encoder.layer.1.output.LayerNorm.bias"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    lacking = r"no weights for encoder.layer.1.output.dense.bias, encoder.layer.1.output.LayerNorm.bias"
    with pytest.raises(ValueError, match=rf"--teacher.model .*teacher: the files hold {lacking}: this is not a whole"):
        load(folder, world)


def test_it_is_counted_whole_and_says_how_it_is_kept(folder: Path, world: World) -> None:
    teacher = load(folder, world)
    whole = size_of(load_encoder(str(folder), ""))
    assert not sum(weight.numel() for weight in teacher.model.parameters())
    assert isinstance(teacher, PartitionedTeacher)
    of_four = World(0, 4, torch.device("cpu"))
    share = size(whole.bytes / 4)  # in float32
    assert (
        teacher.in_words(of_four) == f"teacher: in parts of {share} on 4 ranks, by ZeRO stage 3 (--teacher.deepspeed)"
    )


def test_embeddings_that_are_not_finite_are_refused(folder: Path, world: World) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="its embeddings of token 7 are not finite"):
        load(folder, world)


def test_heads_prefixes_and_old_names_do_not_matter(folder: Path, world: World) -> None:
    expected = load(folder, world)
    weights = load_file(folder / "model.safetensors")
    norms = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, weight in weights.items():
        for new, before in norms.items():
            name = name.replace(new, before)
        old[f"bert.{name}"] = weight
    torch.save({**old, "cls.predictions.bias": torch.zeros(3)}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    again = load(folder, world)
    assert expected.is_partitioned and (again.fingerprint, again.checksum) == (expected.fingerprint, expected.checksum)


@pytest.mark.parametrize(("offload", "home"), [({}, "cuda"), ({"device": "none"}, "cuda"), ({"device": "cpu"}, "cpu")])
def test_embeddings_are_kept_where_zero_keeps_the_other_weights(offload: dict[str, str], home: str) -> None:
    raw = {"zero_optimization": {"stage": 3, **({"offload_param": offload} if offload else {})}}
    assert _home(raw, torch.device("cuda")) == torch.device(home)
