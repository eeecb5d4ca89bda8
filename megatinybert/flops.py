"""How much arithmetic a step is, and how well the hardware is used for it.

Counted are the operations that a model's matrix products need, a multiplication and an addition as two. For each token
and layer of a BERT of width D, inner width I and sequence length S:

    2 (4 D^2 + 2 D I)    queries, keys, values, output and the feed-forward part
    4 S D                Q K^T and the weighted sum of the values

Embeddings, softmax, norms, the objective (its projections too) and the optimizer are not counted: their time lowers
the utilisation. A training step is one forward pass of the teacher, as deep as it runs, and three times the student's
forward pass, since the backward pass has two products for each one of the forward pass (Kaplan et al. 2020, section
2.1). Padded positions count like others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transformers import BertConfig

from megatinybert.peak import Peak


def forward_flops(config: BertConfig, layers: int, rows: int, length: int) -> int:
    """Operations of one forward pass of the first `layers` layers over `rows` windows of `length` tokens."""
    width, inner = config.hidden_size, config.intermediate_size
    per_token = 2 * (4 * width**2 + 2 * width * inner) + 4 * length * width
    return rows * length * layers * per_token


def training_flops(student: BertConfig, rows: int, length: int) -> int:
    """Operations of the student's forward and backward pass."""
    return 3 * forward_flops(student, student.num_hidden_layers, rows, length)


@dataclass(frozen=True)
class StepWork:
    """The operations of one step over all ranks, by the hardware's peak in the precision they run in.

    parts: (operations, peak of one rank's device) of the teacher and of each student, by name.
    """

    parts: Mapping[str, tuple[int, Peak]]
    ranks: int

    def speed(self, seconds: float) -> dict[str, float]:
        """speed/ tags of a step that took `seconds`.

        speed/tflops: 10^12 operations a second, all ranks together. speed/model_flops_utilisation: the time that the
        operations take at the peak, as a share of the time they took (Chowdhery et al. 2022, appendix B, for one
        precision). Teacher and student may differ in precision, so each part is held against its own peak.
        """
        ideal = sum(flops / peak.flops_per_second for flops, peak in self.parts.values()) / self.ranks
        total = sum(flops for flops, _ in self.parts.values())
        return {"speed/tflops": total / seconds / 1e12, "speed/model_flops_utilisation": ideal / seconds}
