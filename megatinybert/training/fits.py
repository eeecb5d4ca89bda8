"""Whether models and machine go together, before any of it is run."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from transformers import BertConfig, PreTrainedConfig

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.schema import StudentConfig
from megatinybert.runtime.counts import counted, some_of
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding
from megatinybert.runtime.hardware import available_memory
from megatinybert.tracking.flops import forward_flops
from megatinybert.training.disk import checkpoint_bytes, size

_SENT = {1: 1.5, 2: 1.5, 3: 2.0}  # by gloo in a step, over ZeRO 0 (benchmarks/README.md, "What a step sends")
_EASILY = 0.1  # of the memory that is free
_DISK = 1e9  # bytes a second
_ROWS = 4096  # of embeddings, looked at together


def check_dropout(student: StudentConfig, device: torch.device) -> list[Finding]:
    """Whether dropout keeps a CPU from its fast attention."""
    if device.type != "cpu" or not student.attention_dropout:
        return []
    text = (
        f"--student.attention_dropout {student.attention_dropout:g} makes the student's attention several times slower "
        "on a CPU, which has no fast kernel with dropout: 0 is faster"
    )
    return [Finding("warn", "dropout", text)]


def check_memory(
    student: PreTrainedConfig,
    teacher: PreTrainedConfig | None,
    rows: int,
    share: int,
    ranks: int,
    length: int,
    held: int = 0,
    remedy: str = "",
) -> list[Finding]:
    """Whether a micro batch can fit into this machine's memory at all; on a CPU the kernel would end the run unasked.

    rows: of a micro batch. share: rows of a rank in a step, in whole micro batches. ranks: of this machine. The
    estimate is low: of each layer of the student, what backward needs of products and norms (10 D + 2 I values a
    token), and what the loss holds of both models (4 E), in 16 bits. held: bytes of the weights and optimizers of all
    students, which stay while their passes follow one another, and of what --run.async_save copies. remedy: where no
    micro batch is small enough.
    """
    available = available_memory()
    if held >= available:
        text = f"weights and optimizers need {size(held)} at the least, and {size(available)} are free: {remedy}"
        return [Finding("fail", "memory", text)]
    free = available - held
    width = (teacher or student).hidden_size
    of_token = student.num_hidden_layers * (10 * student.hidden_size + 2 * student.intermediate_size + 4 * width)
    needed = 2 * ranks * rows * length * of_token
    if needed < free:
        return []
    most = int(rows * free / needed)  # of a low estimate, so half of them are advised
    advised = [count for count in range(1, min(max(most // 2, 1), most, rows - 1) + 1) if share % count == 0]
    beside = f" beside the {size(held)} of weights, optimizers and their copies" if held else ""
    text = (
        f"a micro batch of {counted(rows, 'row')} of {length} tokens on {counted(ranks, 'rank')} needs {size(needed)} "
        f"at the least, and {size(free)} are free{beside}: "
    )
    text += f"lower --run.micro_batch, to {max(advised)} or less" if advised else f"{remedy}, or shorter windows"
    return [Finding("fail", "memory", text)]


def check_network(weights: int, settings: DeepSpeedSettings, optimizer: str, ranks: int, world: World) -> list[Finding]:
    """Whether ZeRO has a network carry more than it saves in memory: a warning where ranks are on several machines.

    weights: of student and objective. ranks: of this machine. Nothing is said of GPUs, as NCCL was not measured.
    """
    if world.device.type != "cpu" or world.size == 1 or settings.stage == 0:
        return []
    whole = dataclasses.replace(settings, stage=0, precision="fp32")
    held = checkpoint_bytes(weights, whole, optimizer) + 4 * weights  # and the gradient
    if ranks * held > _EASILY * available_memory():
        return []
    file = "zero0" if settings.precision == "fp32" else "zero0-autocast"
    text = (
        f"ZeRO {settings.stage} ({settings.path.name}) sends up to {_SENT[settings.stage]:g} times the bytes of ZeRO 0 "
        f"in each step, at which a rank holds {size(held)} of weights, gradient and optimizer: on a slow network "
        f"--deepspeed {file} is fastest"
    )
    return [Finding("warn" if world.machines else "ok", "network", text)]


def on_kept_signals(teacher: BertConfig, layers: int, windows: int, length: int) -> Finding:
    """Why the teacher runs in every pass: what it would take to keep what an objective of layers looks at.

    layers: that the teacher runs. In 16 bits, for each token: hidden states of the embeddings and each layer, queries
    and keys of each layer.
    """
    bytes_of_one = 2 * length * teacher.hidden_size * (1 + 3 * layers)
    operations = forward_flops(teacher, layers, rows=1, length=length)
    limit = operations / (bytes_of_one / _DISK)
    text = (
        f"run in every pass, not kept: hidden states, queries and keys are {size(bytes_of_one)} a window in 16 bits, "
        f"{size(windows * bytes_of_one)} in all; to read them at {size(_DISK)} a second takes longer than the pass "
        f"where the teacher runs at more than {limit / 1e12:.2g} TFLOP/s"
    )
    return Finding("ok", "teacher's signals", text)


def check_embeddings(words: Tensor, name: str) -> None:
    """Raise ValueError where a row of the teacher's embeddings is not finite: a rare token would spoil the student.

    words: (V, E), one row for each token. name: of the teacher.
    """
    finite_V = torch.cat([torch.isfinite(rows).all(dim=1) for rows in words.split(_ROWS)])  # else V x E bytes
    bad = torch.nonzero(~finite_V).flatten().tolist()
    if bad:
        raise ValueError(
            f"--teacher.model {name}: its embeddings of token {some_of(bad)} are not finite (NaN or infinite), and a "
            "text with such a token makes the loss so: repair the model, or take another"
        )
