"""A teacher whose weights ZeRO stage 3 partitions over the ranks, so that none of them holds it whole."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from megatinybert.config.whole_teacher import OPTION
from megatinybert.models.capture import ATTENTION_NAME, Wanted
from megatinybert.models.load import Digest, Teacher, size_of
from megatinybert.models.partitioned_embedding import PartitionedEmbedding
from megatinybert.models.published import read_weights
from megatinybert.runtime.counts import counted, some_of
from megatinybert.runtime.dist import World
from megatinybert.training.disk import size
from megatinybert.training.fits import check_embeddings

_WORDS, _ROWS = "word_embeddings.weight", 4096  # rows that are read and sent together
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # of files of 2019


class PartitionedTeacher(Teacher):
    """Each module's weights are gathered before it runs and dropped after it, so all ranks have to run it in step."""

    is_partitioned = True

    def __init__(self, engine: DeepSpeedEngine, fingerprint: str, checksum: str) -> None:
        super().__init__(engine.module, fingerprint, checksum=checksum)
        self._engine = engine  # holds what gathers the weights

    def in_words(self, world: World) -> str:
        """How it is kept, for the person who started the run."""
        values = size_of(self.model).parameters + self.model.embeddings.word_embeddings.values
        share = size(values * self.model.dtype.itemsize / world.size)
        return f"teacher: in parts of {share} on {counted(world.size, 'rank')}, by ZeRO stage 3 ({OPTION})"

    def compile_passes(self, shape: torch.Size, wanted: Wanted | None = None) -> None:
        """It runs as written: what gathers the weights cannot be compiled."""


def load_partitioned(
    name: str, config: BertConfig, depths: Iterable[int], dtype: torch.dtype, raw: Mapping[str, Any], world: World
) -> dict[int, Teacher]:
    """As `models.load.load_teachers`, with the same fingerprints and checksums. Every rank calls it.

    config: of the whole teacher. raw: of `config.teacher_engine`. Rank 0 reads the token embeddings and sends each rank
    its rows, then one layer after the other and sends it to all, and each rank keeps its share. Raises ValueError on
    all ranks where weights are missing, damaged or not finite.
    """
    wanted = sorted(set(depths))
    model = _without_weights(config, wanted[-1], world.device)
    digest, known = Digest(), {0: ("", "")}
    parts: dict[str, nn.Module] = {"embeddings": model.embeddings}
    parts |= {f"encoder.layer.{number}": layer for number, layer in enumerate(model.encoder.layer)}
    for number, (place, part) in enumerate(parts.items()):
        weights = world.together(functools.partial(_weights_of, name, place, part, dtype, world))
        for key, weight in weights.items():
            owner, _, own = key.rpartition(".")
            if key == _WORDS:
                setattr(part, owner, _in_parts(weight, dtype, _home(raw, world.device), digest, world))
                continue
            if world.is_main:
                digest.add(weight.float())
            value = weight.to(world.device, dtype)
            setattr(part.get_submodule(owner), own, nn.Parameter(value, requires_grad=False))
        known[number] = digest.fingerprint, digest.checksum
        del weights
        deepspeed.zero.Init(module=part, config_dict_or_path=dict(raw), dtype=dtype)
    told = world.first(lambda: known)
    engine, *_ = deepspeed.initialize(model=model, config=dict(raw))
    return {depth: PartitionedTeacher(engine, *told[depth]) for depth in wanted}


def _without_weights(config: BertConfig, layers: int, device: torch.device) -> BertModel:
    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    config._attn_implementation = ATTENTION_NAME
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    positions = torch.arange(config.max_position_embeddings, device=device)[None]
    model.embeddings.register_buffer("position_ids", positions, persistent=False)
    model.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
    return model


def _weights_of(name: str, place: str, part: nn.Module, dtype: torch.dtype, world: World) -> dict[str, Tensor]:
    """The weights of a part of a BERT, by their names there, on the CPU: as the file has them, mapped, so that what is
    not looked at is not in memory; on other ranks than 0 not yet set.
    """
    shapes = {key: weight.shape for key, weight in part.named_parameters()}
    if not world.is_main:
        return {key: torch.empty(shape, dtype=dtype) for key, shape in shapes.items()}
    role = f"--teacher.model {name}"
    found = read_weights(name, role, f"{place}.", f"bert.{place}.")
    weights = {_key(key, place): weight for key, weight in found.items()}
    missing = [f"{place}.{key}" for key, shape in shapes.items() if key not in weights or weights[key].shape != shape]
    if missing:
        raise ValueError(f"{role}: the files hold no weights for {some_of(missing)}: this is not a whole BERT encoder")
    if place == "embeddings":
        check_embeddings(weights[_WORDS], name)
    return {key: weights[key] for key in shapes}


def _in_parts(
    table: Tensor, dtype: torch.dtype, home: torch.device, digest: Digest, world: World
) -> PartitionedEmbedding:
    """The token embeddings. table: (V, E), read by rank 0."""
    words = PartitionedEmbedding(len(table), table.shape[1], dtype, home, world)
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS if world.is_main else start]
        if world.is_main:
            digest.add(rows.float(), is_new=start == 0)
        words.fill(start, rows.to(world.device, dtype))
    return words


def _home(raw: Mapping[str, Any], device: torch.device) -> torch.device:
    """Where a rank keeps its share of the weights."""
    offloaded = raw["zero_optimization"].get("offload_param") or {}
    return device if offloaded.get("device", "none") == "none" else torch.device("cpu")


def _key(key: str, place: str) -> str:
    key = key.removeprefix("bert.").removeprefix(f"{place}.")
    for old, new in _OLD_NAMES.items():
        key = key.replace(old, new)
    return key
