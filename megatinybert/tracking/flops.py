"""Operations of a step, and hardware utilisation.

Counted are the operations that a model's matrix products need, a multiplication and an addition as two. For each token
and layer of a BERT of width D, inner width I and sequence length S:

    2 (4 D^2 + 2 D I)    queries, keys, values, output and the feed-forward part
    4 S D                Q K^T and the weighted sum of the values

Embeddings, heads, softmax, norms, the objective (its projections too) and the optimizer are not counted: their time
lowers the utilisation. A training step is one forward pass of the teacher, as deep as it runs, and three times the
student's forward pass, since the backward pass has two products for each one of the forward pass (Kaplan et al. 2020,
section 2.1). Padded positions count like others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transformers import BertConfig

from megatinybert.runtime.hardware import Peak


def forward_flops(config: BertConfig, layers: int, rows: int, length: int) -> int:
    """Operations of one forward pass of the first `layers` layers over `rows` windows of `length` tokens."""
    width, inner = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * width**2 + 2 * width * inner) + 4 * length * width
    return rows * length * layers * per_token


def training_flops(student: BertConfig, rows: int, length: int) -> int:
    """Operations of the student's forward and backward pass."""
    return 3 * forward_flops(student, student.num_hidden_layers, rows, length)


@dataclass(frozen=True)
class Part:
    """One model of a step. passes: forward passes that its work is worth, 1 of a frozen body and 3 of a trained one."""

    config: BertConfig
    passes: int
    peak: Peak

    def flops(self, shapes: Iterable[tuple[int, int]]) -> int:
        """Operations on micro batches of these (rows, length)."""
        depth = self.config.num_hidden_layers
        return sum(self.passes * forward_flops(self.config, depth, rows, length) for rows, length in shapes)


@dataclass(frozen=True)
class StepWork:
    """The models that a rank runs in a step, by name, each held against the hardware's peak in its own precision."""

    parts: Mapping[str, Part]
    ranks: int

    def speed(self, shapes: Sequence[tuple[int, int]], seconds: float) -> dict[str, float]:
        """speed/ tags of what a rank has done in `seconds`. shapes: (rows, length) of its micro batches.

        The other ranks are taken to have done as much.

        speed/tflops: 10^12 operations a second, all ranks together. speed/model_flops_utilisation: the time that the
        operations take at the peak, as a share of the time they took (Chowdhery et al. 2022, appendix B, for one
        precision). Teacher and student may differ in precision, so each part is held against its own peak.
        """
        operations = {name: part.flops(shapes) for name, part in self.parts.items()}
        ideal = sum(flops / self.parts[name].peak.flops_per_second for name, flops in operations.items())
        tokens = sum(rows * length for rows, length in shapes)
        return {
            "speed/tokens_per_second": self.ranks * tokens / seconds,
            "speed/tflops": self.ranks * sum(operations.values()) / seconds / 1e12,
            "speed/model_flops_utilisation": ideal / seconds,
        }
