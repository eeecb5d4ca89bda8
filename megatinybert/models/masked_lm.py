"""A BERT with a masked-LM head, trained whole or head only."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.models.initialize import init_from_folder, model_folder
from megatinybert.models.load import load_model
from megatinybert.models.published import read_weights

_HEAD = "cls.predictions.transform."  # its other weights are the embeddings' and a bias


def has_mlm_head(name: str) -> bool:
    """Whether the weights of a model folder or hub name have a masked-LM head. Raises ValueError without weights."""
    return bool(read_weights(name, name, _HEAD))


def build_mlm_model(config: BertConfig, init: str, train: Literal["whole", "head"], seed: int) -> BertForMaskedLM:
    """A model to be trained, in float32, with its first weights, which torch's own random state has no part in.

    init: as --student.init takes it: "random"; or a model folder or hub name of the shape of `config`, or a finished
    run, for the body, and for the head where it has one. Other weights are random, by the seed.
    train: with "head", the body does not require gradients (the head's output matrix is the embeddings, so it is part
    of the body) and has no dropout. Raises ValueError where weights are missing or do not fit.
    """
    config = copy.deepcopy(config)
    config._attn_implementation = ATTENTION_NAME
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForMaskedLM(config)
    if init != "random":
        init = model_folder(init)
        init_from_folder(model.bert, init)
        if has_mlm_head(init):
            model.cls.load_state_dict(load_model(BertForMaskedLM, init, f"--student.init {init}").cls.state_dict())
    if train == "head":
        model.bert.requires_grad_(False)
        for module in model.bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    return model
