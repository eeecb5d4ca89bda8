"""Exports student and objective.

student/ holds no code of ours, and its weights no projection: the one after its last layer stands beside them
(sentence_vectors.py). objective.safetensors has all projections, so that another run can go on with them
(first_weights.py reads it); its metadata say with what options.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import safe_get_full_fp32_param
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer, BertTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from megatinybert.config.transfer import TransferConfig
from megatinybert.runtime.dist import World
from megatinybert.runtime.files import publish_file, publish_folder
from megatinybert.training.sentence_vectors import Projection, write_modules

_READABLE = 0o644  # safetensors writes for the owner alone; a model is there to be read
# Where the tokenizer was loaded from, which Transformers saves with it: folders of this machine, and how it was found.
_OF_THIS_MACHINE = {"is_local", "local_files_only", "name_or_path", "special_tokens_map_file", "tokenizer_file"}


def full_weights(engine: DeepSpeedEngine, module: nn.Module) -> dict[str, Tensor]:
    """The weights of `module`, a part of the engine's, in float32 on the CPU.

    They are the optimizer's master copies where it has any. Every rank must call this: at ZeRO 1 to 3 they are gathered
    from all of them.
    """
    weights = {}
    for name, parameter in module.named_parameters():
        trained = engine.zero_optimization() and parameter.requires_grad
        master = safe_get_full_fp32_param(parameter) if trained else None
        if master is None:
            with deepspeed.zero.GatheredParameters([parameter]):
                master = parameter.detach().clone()
        weights[name] = master.detach().float().cpu().reshape(_shape(parameter)).clone()
    return weights


def export_student(
    engine: DeepSpeedEngine,
    folder: Path,
    tokenizer: str,
    world: World,
    beside: Mapping[str, str] | None = None,
    sentence_length: int | None = None,
) -> None:
    """Write the student and its tokenizer to `folder`, in place of what stood there. Every rank calls it.

    tokenizer: folder or hub name of the teacher's. beside: texts of other files, by name. sentence_length: tokens that
    the student has learnt to read; with it, the folder is a model of sentence-transformers as well, where the objective
    has a projection after the last layer. The pooler, which Transformers' BertModel has and distillation of layers does
    not train, is written with its first random weights, the same in every export.
    """
    weights = full_weights(engine, engine.module.student) | engine.module.frozen
    linear = engine.module.objective.last_projection if sentence_length else None
    projection = full_weights(engine, linear) if linear else None
    if world.is_main:
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model = _plain(engine.module.student)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected, unexpected
        assert all(name.startswith("pooler.") or name in _tied(model) for name in missing), missing
        model.save_pretrained(temporary)
        _save_tokenizer(tokenizer, temporary)
        if projection and sentence_length:
            write_modules(temporary, Projection(projection["weight"], projection["bias"]), sentence_length)
        for name, text in (beside or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(_READABLE)
        publish_folder(temporary, folder)
    world.barrier()


def export_objective(
    engine: DeepSpeedEngine, file: Path, options: TransferConfig, trained_positions: int, world: World
) -> None:
    """Write the weights that the objective learnt, its options, and how many positions the student was trained at.

    Every rank calls it.
    """
    weights = full_weights(engine, engine.module.objective)
    if world.is_main:
        temporary = file.with_name(f".{file.name}.tmp")
        metadata = {
            "objective": json.dumps(options.model_dump(mode="json")),
            "trained_positions": str(trained_positions),
        }
        save_file(weights, temporary, metadata=metadata)
        temporary.chmod(_READABLE)
        publish_file(temporary, file)
    world.barrier()


def _save_tokenizer(name: str, folder: Path) -> None:
    """Save the tokenizer of a folder or hub name, without a word on the machine that it came from."""
    _tokenizer(name).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if key not in _OF_THIS_MACHINE}
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub name; of a BERT's folder its vocab.txt is enough."""
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        if not (Path(name) / "vocab.txt").is_file():
            raise
        return BertTokenizer.from_pretrained(name, trust_remote_code=False)


def _plain(student: PreTrainedModel) -> PreTrainedModel:
    """A model of the student's kind as Transformers makes it, with random weights."""
    config = copy.deepcopy(student.config)
    config._attn_implementation, config._name_or_path = "eager", ""
    config.architectures = [type(student).__name__]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return type(student)(config)


def _tied(model: PreTrainedModel) -> set[str]:
    """Names of weights that are another name of a weight that named_parameters() tells first."""
    own = {name for name, _ in model.named_parameters()}
    return {name for name in model.state_dict() if name not in own}


def _shape(parameter: nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)
