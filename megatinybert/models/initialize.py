"""A student's weights from a model of its shape."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import BertModel

from megatinybert.config.missing import missing_model
from megatinybert.config.run_folder import is_run, model_of
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_encoder

SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "type_vocab_size",
    "max_position_embeddings",
)


def init_from_teacher(student: BertModel, name: str, layers: Sequence[int]) -> None:
    """Copy the teacher's embeddings and the layers `layers` (0-based, one per student layer) into the student.

    Raises ValueError where the widths differ.
    """
    teacher = load_encoder(name, f"--teacher.model {name}")
    for key in SHAPE:
        ours, theirs = getattr(student.config, key), getattr(teacher.config, key)
        if key != "num_hidden_layers" and ours != theirs:
            raise ValueError(
                f"--student.init teacher copies whole layers, but {key} is {ours} in the student and {theirs} in the "
                "teacher: choose a student of the teacher's width, or leave --student.init out"
            )
    student.embeddings.load_state_dict(teacher.embeddings.state_dict())
    for ours, theirs in zip(student.encoder.layer, layers, strict=True):
        ours.load_state_dict(teacher.encoder.layer[theirs].state_dict())


def init_from_folder(student: BertModel, name: str) -> None:
    """Load the student's weights from a model folder of the same shape. Raises ValueError where a weight is missing."""
    source = read_bert_config(name, "--student.init")
    for key in SHAPE:
        if getattr(source, key) != getattr(student.config, key):
            raise ValueError(
                f"--student.init {name}: {key} is {getattr(source, key)} there and {getattr(student.config, key)} "
                f"in --student.config: --student.config {name} takes its shape; or choose other first weights"
            )
    student.load_state_dict(load_encoder(name, f"--student.init {name}").state_dict())


def model_folder(name: str) -> str:
    """The student of a finished run; other names as they are. Raises ValueError where a run has left none yet."""
    if is_run(Path(name)) and (problem := missing_model("--student.init", name)):
        raise ValueError(problem)
    return model_of(name)
