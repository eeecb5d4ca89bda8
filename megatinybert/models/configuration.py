"""Configurations of BERT models, read and checked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, BertConfig, PreTrainedConfig

from megatinybert.config.hub import advice, first_line, reason_of
from megatinybert.config.missing import missing_model
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import MADE_WEIGHTS, STUDENTS_FOLDER, ConfigError
from megatinybert.models.shapes import other_family, shape_mistakes

_BERT_KEYS = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "type_vocab_size"}
_KERNELS = {"_attn_implementation", "_attn_implementation_internal", "attn_implementation", "_experts_implementation"}
_KERNELS |= {"_experts_implementation_internal", "experts_implementation", "use_kernels", "kernel_config"}
_QUANTIZED = {"quantization_config", "compression_config"}


def read_bert_config(name: str, role: str) -> BertConfig:
    """Read the configuration of a BERT folder or hub name. Raises ValueError for another family or a missing folder."""
    if problem := missing_model(role, name):
        raise ValueError(problem)
    try:
        config = _read_config(name)
    except (OSError, ValueError) as error:
        published = (Path(name) / "bert_config.json").is_file() and not (Path(name) / "config.json").is_file()
        hint = '. Copy its bert_config.json to config.json and add "model_type": "bert" there' if published else ""
        raise ValueError(
            f"{role} {name}: cannot read a model configuration there: {_reason(name, error)}{hint}"
        ) from error
    if config.model_type != "bert" or config.is_decoder:
        kind = f"{config.model_type}{' decoder' if getattr(config, 'is_decoder', False) else ''}"
        raise ValueError(other_family(f"{role} {name}", kind))
    position = getattr(config, "position_embedding_type", "absolute")
    if position not in (None, "absolute"):
        raise ValueError(f"{role} {name} uses {position} positions; only absolute ones can be used")
    return config


def student_config(
    name: str, teacher: BertConfig, hidden_dropout: float, attention_dropout: float, option: str = "--student.config"
) -> BertConfig:
    """The student's configuration: a shipped size, or a folder or file with a config.json. option: which names it.

    A shipped size gives the shape alone; vocabulary, positions and segment types are the teacher's. Raises ValueError
    for an own configuration that is wrong in itself, or of another vocabulary.
    """
    shipped = STUDENTS_FOLDER / f"{name}.json"
    if shipped.is_file():
        config = copy.deepcopy(teacher)
        for key, value in json.loads(shipped.read_text()).items():
            setattr(config, key, value)
    else:
        config = copy.deepcopy(read_bert_config(name, option))
        if problems := shape_mistakes(name, read_settings(name), teacher.to_dict(), option):
            raise ConfigError.of(problems)
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = hidden_dropout, attention_dropout
    config.architectures = ["BertModel"]
    return config


def read_settings(name: str) -> dict[str, Any]:
    """The content of a model's config.json, without what chooses attention kernels: Transformers would fetch and run
    those that are named as on its hub, and ours are given anyway.

    Raises ValueError where the weights are quantized, which other packages would be loaded for, or where the model has
    code of its own and is no BERT. OSError and ValueError where there is nothing to read.
    """
    if (Path(name) / "adapter_config.json").is_file():  # the library would load the model that it names instead
        raise ValueError("this is an adapter (adapter_config.json); merge it into its model and name that")
    settings, _ = PreTrainedConfig.get_config_dict(name)
    kind = settings.get("model_type", "bert")
    if kind != "bert" and "auto_map" in settings:
        raise ValueError(f"a {kind} model with code of its own, which is never run; only BERTs can be used")
    if found := sorted(key for key in _QUANTIZED if settings.get(key)):
        raise ValueError(f"{found[0]} in its config.json: only weights that are not quantized can be used")
    return _without_kernels(settings)


def _without_kernels(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_kernels(inner) for key, inner in value.items() if key not in _KERNELS}
    return value


def _read_config(name: str) -> Any:
    settings = read_settings(name)
    if settings.get("model_type") == "bert" or ("model_type" not in settings and settings.keys() >= _BERT_KEYS):
        return BertConfig.from_dict(settings, name_or_path=name)  # TinyBERT's authors write no model_type
    return AutoConfig.from_pretrained(name, trust_remote_code=False)


def _reason(name: str, error: Exception) -> str:
    if Path(name).exists():
        return first_line(error)
    meant = nearest(name, MADE_WEIGHTS)
    hint = f"; did you mean {meant}?" if meant else ""
    return f"no such folder here, nor a model on the hub that could be read ({reason_of(error)}){hint or advice(name)}"
