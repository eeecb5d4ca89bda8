"""A task's models: new heads, fine-tuned teachers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.models.load import Digest, load_model
from megatinybert.models.published import load_classifier
from megatinybert.runtime.counts import counted
from megatinybert.tasks.answering import Answering
from megatinybert.tasks.labels import label_order
from megatinybert.tasks.table import Task


def new_classifier(config: BertConfig, task: Task, seed: int) -> BertForSequenceClassification:
    """A classifier for the task's classes with random weights (from `seed`), in float32. config: of the body."""
    config = copy.deepcopy(config)
    config._attn_implementation = ATTENTION_NAME
    config.architectures = ["BertForSequenceClassification"]
    config.relu_before_classifier = False
    _name_outputs(config, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForSequenceClassification(config)


def classifier_on(name: str, option: str, config: BertConfig, task: Task, seed: int) -> BertForSequenceClassification:
    """A new classifier on the body of a folder or hub name, and on its pooler where it has one.

    config: of the body. Raises ValueError as `models.load_model` does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = load_model(BertModel, name, f"{option} {name}", may_lack="pooler.")
    model = new_classifier(config, task, seed)
    model.bert.load_state_dict(body.state_dict())
    return model


def load_fine_tuned(
    name: str, section: str, task: Task, labels: Sequence[str] | None = None
) -> BertForSequenceClassification:
    """A fine-tuned classifier in float32, its outputs put into the task's order by their names.

    section: of the options .model and .labels. labels: names of its outputs, in place of those in its config.json.
    Raises ValueError where it has no classifier, or its outputs are not the task's classes.
    """
    source = f"--{section}.model {name}"
    model = load_classifier(name, f"--{section}.model")
    outputs = model.config.num_labels
    if labels and len(labels) != outputs:
        raise ValueError(
            f"--{section}.labels names {counted(len(labels), 'output')} ({' '.join(labels)}), {source} has {outputs}"
        )
    if task.labels is None:
        if outputs != 1:
            raise ValueError(f"{source} has {outputs} outputs, but {task.name} is a regression, which has one")
    else:
        names: Any = dict(enumerate(labels)) if labels else model.config.id2label
        order = label_order(task.labels, names, source, f"--{section}.labels")
        with torch.no_grad():
            for weight in (model.classifier.weight, model.classifier.bias):
                weight.copy_(weight[order].clone())
    _name_outputs(model.config, task)
    return model


def as_teacher(model: BertForSequenceClassification, dtype: torch.dtype, device: torch.device) -> Answering:
    """The model frozen, in `dtype`, on `device`."""
    digest = Digest.of(model)
    model.to(device, dtype)  # type: ignore[arg-type]
    return Answering(model, digest.fingerprint, checksum=digest.checksum)


def _name_outputs(config: BertConfig, task: Task) -> None:
    if task.labels is None:
        config.num_labels, config.problem_type = 1, "regression"
    else:
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {name: index for index, name in enumerate(task.labels)}
        config.problem_type = "single_label_classification"
