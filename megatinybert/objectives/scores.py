"""TinyBERT's attention-score loss without a sequence x sequence matrix.

TinyBERT (Jiao et al. 2020, equation 7) compares the attention scores of student and teacher before the softmax:

    sum over cells of (q_s k_s^T / sqrt(d_s) - q_t k_t^T / sqrt(d_t))^2

Let X = [q_s / sqrt(d_s), -q_t / sqrt(d_t)] and Y = [k_s, k_t], joined along the head width. The difference of the two
score matrices is X Y^T, and its squared Frobenius norm is the sum of all entries of (X^T X) * (Y^T Y): products of the
head width, not of the length. Expanding the blocks gives a student-student, a student-teacher and a teacher-teacher
term; the last has no gradient and is taken outside the graph.

A key-padding mask sets score columns to 0 in both models, which is to set the masked rows of Y to 0. The reference
keeps the score rows of padded queries and averages over all B*H*S*S cells (`normalize="reference"`); with "valid",
rows of padded queries count as 0 too (masked rows of X) and the mean runs over the cells between real tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def takes_gram_form(length: int, d_s: int, d_t: int) -> bool:
    """Whether the Gram form is the faster one: from the length at which X is taller than wide.

    Measured on a CPU the two cross between 80 and 96 for widths 26 + 32, 96 and 128 for 26 + 64 and 160 and 256 for
    64 + 64 (benchmarks/README.md, "Gram or literal").
    """
    return length >= d_s + d_t


def score_loss(
    q_s_BHSD: Tensor,
    k_s_BHSD: Tensor,
    q_t_BHSE: Tensor,
    k_t_BHSE: Tensor,
    mask_BS: Tensor | None = None,
    normalize: str = "reference",
) -> Tensor:
    """Mean squared error of the attention scores of one layer: a scalar, computed in float32 (float64 for float64).

    q_s, k_s: the student's queries and keys (B, H, S, D_s), not scaled. q_t, k_t: the teacher's (B, H, S, D_t), without
    graph. mask: bool (B, S), True at real tokens; None where there is no padding. The two forms agree to rounding;
    the shorter of the two computations is taken.
    """
    device = q_s_BHSD.device.type
    gram = takes_gram_form(q_s_BHSD.shape[2], q_s_BHSD.shape[3], q_t_BHSE.shape[3])
    form = gram_square_sum if gram else literal_square_sum
    with torch.autocast(device, enabled=False):  # it would compute the products in 16 bits
        total = form(q_s_BHSD, k_s_BHSD, q_t_BHSE, k_t_BHSE, mask_BS, normalize)
    return total / _cells(q_s_BHSD, mask_BS, normalize)


def literal_square_sum(
    q_s_BHSD: Tensor, k_s_BHSD: Tensor, q_t_BHSE: Tensor, k_t_BHSE: Tensor, mask_BS: Tensor | None, normalize: str
) -> Tensor:
    """The squared score differences as the paper writes them, summed. Arguments as `score_loss`. O(S^2) memory."""
    q_s, k_s, q_t, k_t = _widen(q_s_BHSD, k_s_BHSD, q_t_BHSE, k_t_BHSE)
    scores_s = q_s @ k_s.transpose(-1, -2) / math.sqrt(q_s.shape[-1])
    scores_t = q_t @ k_t.transpose(-1, -2) / math.sqrt(q_t.shape[-1])
    difference_BHSS = scores_s - scores_t
    if mask_BS is not None:
        difference_BHSS = difference_BHSS.masked_fill(~mask_BS[:, None, None, :], 0.0)
        if normalize == "valid":
            difference_BHSS = difference_BHSS.masked_fill(~mask_BS[:, None, :, None], 0.0)
    return difference_BHSS.square().sum()


def gram_square_sum(
    q_s_BHSD: Tensor, k_s_BHSD: Tensor, q_t_BHSE: Tensor, k_t_BHSE: Tensor, mask_BS: Tensor | None, normalize: str
) -> Tensor:
    """The same sum by products of the head width. Arguments as `score_loss`. O(S) memory."""
    q_s, k_s, q_t, k_t = _widen(q_s_BHSD, k_s_BHSD, q_t_BHSE, k_t_BHSE)
    if mask_BS is not None:
        padded_B1S1 = ~mask_BS[:, None, :, None]
        k_s, k_t = k_s.masked_fill(padded_B1S1, 0.0), k_t.masked_fill(padded_B1S1, 0.0)
        if normalize == "valid":
            q_s, q_t = q_s.masked_fill(padded_B1S1, 0.0), q_t.masked_fill(padded_B1S1, 0.0)
    d_s, d_t = q_s.shape[-1], q_t.shape[-1]
    # The three sums nearly cancel once the student is good, so they are added up in float64. Scaling them, instead of
    # q, keeps 16-bit values exact up to here.
    student = (_gram(q_s, q_s) * _gram(k_s, k_s)).sum(dtype=torch.float64) / d_s
    cross = (_gram(q_s, q_t) * _gram(k_s, k_t)).sum(dtype=torch.float64) / math.sqrt(d_s * d_t)
    with torch.no_grad():
        teacher = (_gram(q_t, q_t) * _gram(k_t, k_t)).sum(dtype=torch.float64) / d_t
    return (student - 2.0 * cross + teacher).to(q_s.dtype)


def _gram(a_BHSD: Tensor, b_BHSE: Tensor) -> Tensor:
    return a_BHSD.transpose(-1, -2) @ b_BHSE


def _widen(*tensors: Tensor) -> list[Tensor]:
    return [tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in tensors]


def _cells(q_BHSD: Tensor, mask_BS: Tensor | None, normalize: str) -> Tensor | int:
    batch, heads, length, _ = q_BHSD.shape
    if normalize == "valid" and mask_BS is not None:
        return heads * mask_BS.sum(dim=1).square().sum()
    return batch * heads * length * length
