"""Model folders in the layout of TinyBERT's authors, with random weights: see docs/published.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import BertForPreTraining, BertForSequenceClassification

from tests.helpers.toys import VOCABULARY, bert_config


def write_published(
    folder: Path,
    projections: Literal["v1", "v2"] = "v2",
    classes: int | None = None,
    layers: int = 2,
    hidden: int = 12,
    heads: int = 4,
    teacher_width: int = 24,
    old_names: bool = False,
) -> dict[str, Tensor]:
    """Write a general TinyBERT, or for `classes` a task TinyBERT. Returns its weights under today's names.

    old_names: LayerNorm's weights are called gamma and beta, and the file is no zip archive.
    """
    config = bert_config(layers, hidden, heads, initializer_range=0.2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(23)
        if classes is None:
            weights = BertForPreTraining(config).state_dict()
            del weights["cls.predictions.decoder.bias"]  # it is cls.predictions.bias
        else:
            config.num_labels = classes
            weights = BertForSequenceClassification(config).state_dict()
        for name in ["fit_dense"] if projections == "v1" else [f"fit_denses.{i}" for i in range(layers + 1)]:
            weights[f"{name}.weight"] = torch.randn(teacher_width, hidden)
            weights[f"{name}.bias"] = torch.randn(teacher_width)
    in_file = dict(weights)
    if old_names:
        renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for name in weights:
            for new, old in renamed.items():
                if name.endswith(new):
                    in_file[name.replace(new, old)] = in_file.pop(name)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(in_file, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old_names)
    (folder / "config.json").write_text(
        json.dumps(
            {
                "attention_probs_dropout_prob": 0.1,
                "cell": {},
                "emb_size": hidden,
                "hidden_act": "gelu",
                "hidden_dropout_prob": 0.1,
                "hidden_size": hidden,
                "initializer_range": 0.02,
                "intermediate_size": config.intermediate_size,
                "max_position_embeddings": config.max_position_embeddings,
                "num_attention_heads": heads,
                "num_hidden_layers": layers,
                "pre_trained": "",
                "structure": [],
                "type_vocab_size": 2,
                "vocab_size": len(VOCABULARY),
            }
        )
    )
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return weights
