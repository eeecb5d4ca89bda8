"""The student as a Hugging Face folder that plain Transformers loads: no code of ours, no projections in it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping
from pathlib import Path

import deepspeed
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel

from megatinybert.dist import World
from megatinybert.files import publish_folder
from megatinybert.models import size_of


def student_weights(engine: DeepSpeedEngine) -> dict[str, Tensor]:
    """The student's weights in float32 on the CPU, the optimizer's master copy where there is one.

    Every rank must call this: at ZeRO 1 to 3 the weights are gathered from all of them.
    """
    weights = {}
    for name, parameter in engine.module.student.named_parameters():
        master = safe_get_full_fp32_param(parameter) if engine.zero_optimization() else None
        if master is None:
            with deepspeed.zero.GatheredParameters([parameter]):
                master = parameter.detach().clone()
        weights[name] = master.detach().float().cpu().reshape(_shape(parameter)).clone()
    return weights


def export_student(
    engine: DeepSpeedEngine, folder: Path, tokenizer: str, facts: Mapping[str, object], world: World
) -> None:
    """Write the student, its tokenizer and a model card to `folder`, in place of what stood there. Collective.

    tokenizer: folder or hub name of the teacher's. facts: lines of the model card. The pooler, which Transformers'
    BertModel has and distillation does not train, is written with its first random weights, the same in every export.
    """
    weights = student_weights(engine)
    if world.is_main:
        config = copy.deepcopy(engine.module.student.config)
        temporary = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        model = _with_pooler(config)
        _, unexpected = model.load_state_dict(weights, strict=False)
        assert not unexpected, unexpected
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(temporary)
        (temporary / "README.md").write_text(model_card(model, facts), encoding="utf-8")
        for file in temporary.iterdir():
            file.chmod(0o644)  # safetensors writes for the owner alone; a model is there to be read
        publish_folder(temporary, folder)
    world.barrier()


def model_card(model: BertModel, facts: Mapping[str, object]) -> str:
    """The README.md of a student: what it is, what it was taught, how to load it."""
    config = model.config
    lines = [
        "---",
        "library_name: transformers",
        "tags: [distillation, bert, tinybert]",
        "---",
        "",
        f"# A {config.num_hidden_layers}-layer, {config.hidden_size}-wide BERT student",
        "",
        "Distilled by MegaTinyBERT (general distillation: intermediate layers on unlabelled text). Fine-tune it, or",
        "distil it further on a task. Its pooler is untrained.",
        "",
        "| | |",
        "| --- | --- |",
        f"| parameters | {size_of(model).parameters:,} |",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        "```python",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("path/to/student")',
        'model = AutoModel.from_pretrained("path/to/student")',
        'hidden_states = model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state',
        "```",
    ]
    return "\n".join(lines) + "\n"


def _with_pooler(config: BertConfig) -> BertModel:
    config._attn_implementation = "eager"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertModel(config)


def _shape(parameter: torch.nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)
