"""Encoders as people have them: safetensors or pickles, old names of weights, heads on top; and files not to trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import BertModel

from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_encoder
from tests.helpers.intruder import Intruder
from tests.helpers.toys import write_teacher


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_teacher(tmp_path / "teacher", layers=2)


def as_published(folder: Path) -> dict[str, Tensor]:
    """Turn a folder into one like those of 2019: pickled weights with heads and LayerNorm's old names. Returns them."""
    weights = BertModel.from_pretrained(folder).state_dict()
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in weights.items()
    }
    heads = {"cls.predictions.bias": torch.zeros(3), "cls.seq_relationship.weight": torch.zeros(2, 24)}
    torch.save(old | heads | {"bert.embeddings.position_ids": torch.arange(64)[None]}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return weights


def test_a_pickled_encoder_with_old_names_is_loaded_whole(folder: Path) -> None:
    expected = as_published(folder)
    loaded = load_encoder(str(folder), "--teacher.model").state_dict()
    assert len(loaded) > 30
    for name, weight in loaded.items():
        assert torch.equal(weight, expected[name]), name


def test_a_pickle_that_runs_code_is_refused_unread(folder: Path, tmp_path: Path) -> None:
    weights = as_published(folder)
    torch.save({**weights, "more": Intruder(tmp_path / "was here")}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="--teacher.model: its weights cannot be read: Weights only load failed"):
        load_encoder(str(folder), "--teacher.model")
    assert not (tmp_path / "was here").exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)  # it does run where one lets it
    assert (tmp_path / "was here").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_are_a_users_mistake(folder: Path, name: str) -> None:
    if name == "pytorch_model.bin":
        as_published(folder)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="--teacher.model: its weights cannot be read: "):
        load_encoder(str(folder), "--teacher.model")


def test_a_folder_with_the_configuration_under_its_first_name_says_what_to_do(folder: Path) -> None:
    (folder / "config.json").rename(folder / "bert_config.json")
    with pytest.raises(ValueError, match='Copy its bert_config.json to config.json and add "model_type": "bert"'):
        read_bert_config(str(folder), "--teacher.model")
    settings = json.loads((folder / "bert_config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "bert"}))
    assert read_bert_config(str(folder), "--teacher.model").num_hidden_layers == 2
