"""TinyBERT's published checkpoints, and classifiers of any origin.

Beside a BERT their weight files hold the maps of hidden states to the teacher's width: one for all points (`fit_dense`,
v1 and the Chinese models) or one for each (`fit_denses.0` of the embeddings, `fit_denses.i` of layer i - 1; v2). Their
classifier takes the pooled state through a ReLU, which Transformers' does not.
"""

from __future__ import annotations

import zipfile
from contextlib import suppress

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import BertForSequenceClassification
from transformers.utils import SAFE_WEIGHTS_NAME, WEIGHTS_NAME, cached_file

from megatinybert.config.hub import first_line
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import UNREADABLE, load_model
from megatinybert.runtime.counts import counted

_CLASSIFIER = "classifier.weight"
PROJECTION = "fit_dense"  # and "fit_denses"


def has_classifier(name: str) -> bool:
    """Whether the weights of a model folder or hub name have a classifier. Raises ValueError where there are none."""
    return bool(read_weights(name, name, _CLASSIFIER))


def load_classifier(name: str, option: str) -> BertForSequenceClassification:
    """A BERT with its classifier, in float32, with every weight from the files of a folder or hub name.

    option: the one that named it. A published task TinyBERT gets its ReLU (`heads.head_logits` reads
    `config.relu_before_classifier`), and as many labels as its classifier has outputs, without names.
    Raises ValueError for a model without a classifier, and as `models.load_model` does.
    """
    role = f"{option} {name}"
    config = read_bert_config(name, option)
    found = read_weights(name, role, _CLASSIFIER, PROJECTION)
    if _CLASSIFIER not in found:
        raise ValueError(
            f"{role}: its files hold no {_CLASSIFIER}: this model is not fine-tuned. Fine-tune it first "
            "(launch/task.sh teacher), or name one that is"
        )
    outputs = len(found[_CLASSIFIER])
    if config.num_labels != outputs:
        names = list((config.id2label or {}).values())
        if names != [f"LABEL_{i}" for i in range(len(names))]:  # the library's, where config.json says nothing
            raise ValueError(
                f"{role}: its config.json names {counted(len(names), 'label')} ({', '.join(names)}), its classifier "
                f"has {counted(outputs, 'output')}: correct id2label there"
            )
        config.num_labels = outputs
    if any(key.startswith(PROJECTION) for key in found):
        config.relu_before_classifier = True
    return load_model(BertForSequenceClassification, name, role, config=config)


def read_weights(name: str, role: str, *prefixes: str) -> dict[str, Tensor]:
    """The tensors whose names begin with one of `prefixes`, out of the file that Transformers takes weights from."""
    path = _weight_file(name, role)
    try:
        if path.endswith(".safetensors"):
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefixes)}  # noqa: SIM118
        # Files of before 2020 are no zip archives and cannot be mapped. Other pickles than of tensors could run code.
        weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {key: weight for key, weight in weights.items() if key.startswith(prefixes)}
    except UNREADABLE as error:
        raise ValueError(f"{role}: its weights cannot be read: {first_line(error)}") from error


def _weight_file(name: str, role: str) -> str:
    for file in (SAFE_WEIGHTS_NAME, WEIGHTS_NAME):
        with suppress(OSError):
            return str(cached_file(name, file))
    raise ValueError(f"{role}: neither {SAFE_WEIGHTS_NAME} nor {WEIGHTS_NAME} is there")
