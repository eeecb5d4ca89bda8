"""General distillation on many GPUs, on paper: memory, communication and efficiency from formulas, nothing measured.

    python benchmarks/paper.py [--micro-batch 128] [--length 128] [--peak 989e12] [--utilisation 0.3]
        [--bandwidth 50e9] [--latency 10e-6]

docs/scaling.md has the formulas, their assumptions and this script's tables.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from transformers import BertConfig

from megatinybert.tracking.flops import forward_flops, training_flops

_TEACHERS = {"BERT-base": (12, 768, 12), "BERT-large": (24, 1024, 16)}
_STUDENTS = {"4L-312": (4, 312, 1200), "6L-768": (6, 768, 3072)}
_RANKS = (8, 64, 256, 1024)
_VOCABULARY = 30_522


@dataclass(frozen=True)
class Machine:
    """peak: operations a second in bfloat16; utilisation: share of it that is reached; bandwidth: bytes a second
    between a GPU and the rest; latency: seconds of one message."""

    peak: float
    utilisation: float
    bandwidth: float
    latency: float


def shape(layers: int, width: int, inner: int) -> BertConfig:
    return BertConfig(
        vocab_size=_VOCABULARY, num_hidden_layers=layers, hidden_size=width, intermediate_size=inner,
        num_attention_heads=12,
    )  # fmt: skip


def parameters(config: BertConfig) -> int:
    """Weights of the embeddings and layers, without the pooler."""
    width, inner = config.hidden_size, config.intermediate_size
    tables = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    layer = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    return tables * width + 2 * width + config.num_hidden_layers * layer


def state_bytes(weights: int, stage: int, ranks: int) -> float:
    """Of weights, gradients, master copy and AdamW's two means on one rank, float32 weights under bf16 autocast.

    ZeRO splits the optimizer's state from stage 1 on, gradients from 2, weights at 3 (Rajbhandari et al. 2020, figure
    1, there for 16-bit weights). Stage 0 needs no master copy.
    """
    if stage == 0:
        return 16 * weights
    split = 12 + (4 if stage >= 2 else 0) + (4 if stage >= 3 else 0)
    return (20 - split + split / ranks) * weights


def step_bytes(weights: int, stage: int, ranks: int) -> float:
    """What one rank sends in a step: a ring all-reduce of float32 gradients, or its two halves; half as much again at
    stage 3, which gathers the weights for both passes (Rajbhandari et al. 2020, section 7)."""
    halves = 3 if stage == 3 else 2
    return halves * 4 * weights * (ranks - 1) / ranks


def efficiency(compute: float, sent: float, ranks: int, machine: Machine) -> float:
    """Share of a step's time that is arithmetic, where communication hides behind none of it. Messages pass a tree."""
    return compute / (compute + sent / machine.bandwidth + 2 * math.log2(ranks) * machine.latency)


def seconds_of_compute(teacher: BertConfig, student: BertConfig, rows: int, length: int, machine: Machine) -> float:
    work = forward_flops(teacher, teacher.num_hidden_layers, rows, length) + training_flops(student, rows, length)
    return work / (machine.peak * machine.utilisation)


def memory_table(ranks: int) -> str:
    lines = [
        f"| MB on each of {ranks} GPUs | weights | ZeRO 0 | ZeRO 1 | ZeRO 2 | ZeRO 3 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, (layers, width, heads) in _TEACHERS.items():
        weights = parameters(shape(layers, width, 4 * width))
        assert width % heads == 0
        lines.append(f"| teacher {name}, 16 bits | {weights:,} |" + f" {2 * weights / 1e6:,.0f} |" * 4)
    for name, sizes in _STUDENTS.items():
        weights = parameters(shape(*sizes))
        cells = "".join(f" {state_bytes(weights, stage, ranks) / 1e6:,.0f} |" for stage in range(4))
        lines.append(f"| student {name} | {weights:,} |{cells}")
    return "\n".join(lines)


def efficiency_table(rows: int, length: int, machine: Machine) -> str:
    lines = [
        "| teacher | student | ms of arithmetic | MB sent at ZeRO 1 | "
        + " | ".join(f"{n} GPUs" for n in _RANKS)
        + " |",
        "|---|---|---:|---:|" + "---:|" * len(_RANKS),
    ]
    for teacher_name, (layers, width, _) in _TEACHERS.items():
        teacher = shape(layers, width, 4 * width)
        for student_name, sizes in _STUDENTS.items():
            student = shape(*sizes)
            weights, compute = parameters(student), seconds_of_compute(teacher, student, rows, length, machine)
            shares = [efficiency(compute, step_bytes(weights, 1, n), n, machine) for n in _RANKS]
            sent = step_bytes(weights, 1, _RANKS[-1]) / 1e6
            cells = "".join(f" {share:.0%} |" for share in shares)
            lines.append(f"| {teacher_name} | {student_name} | {1e3 * compute:.1f} | {sent:,.0f} |{cells}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory, communication and efficiency of many GPUs, on paper.")
    parser.add_argument("--micro-batch", type=int, default=128, help="windows of a rank's step (default: 128)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window (default: 128)")
    parser.add_argument("--peak", type=float, default=989e12, help="bf16 operations a second (default: 989e12)")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of it that is reached (default: 0.3)")
    parser.add_argument("--bandwidth", type=float, default=50e9, help="bytes a second of a GPU (default: 50e9)")
    parser.add_argument("--latency", type=float, default=10e-6, help="seconds of a message (default: 10e-6)")
    options = parser.parse_args()
    machine = Machine(options.peak, options.utilisation, options.bandwidth, options.latency)
    print(memory_table(64), efficiency_table(options.micro_batch, options.length, machine), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
