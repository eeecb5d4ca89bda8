"""The mathematics of a solved student: its coordinates, and the factors of rank d that keep most of scores and values.

Notation: D and E are the widths of student and teacher, d and t the widths of their heads, N calibration tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from megatinybert.training.solve.eigen import symmetric_eigen

_SMALLEST = 1e-10  # of the largest eigenvalue: below it a direction is noise


@dataclass(frozen=True)
class Coordinates:
    """The student's states as a function of the teacher's: y = (h - mean_E) @ map_ED. kept: share of the variance."""

    mean_E: Tensor
    map_ED: Tensor
    kept: float

    def of(self, states: Tensor) -> Tensor:
        """(..., E) -> (..., D), float64."""
        return (states.to(torch.float64) - self.mean_E) @ self.map_ED


def choose_coordinates(mean_E: Tensor, covariance_EE: Tensor, width: int, generator: torch.Generator) -> Coordinates:
    """Principal axes of the teacher's states, laid into the student's width at random.

    Of the r = min(D - 1, E) axes of most variance V (E, r) (Hotelling 1933), y = (h - mean) V B, where B (r, D) has
    orthonormal rows that are orthogonal to the vector of ones: LayerNorm takes the mean out of a state, so no direction
    is lost to it. The rotation is random, which gives all coordinates like variance, as LayerNorm does. A student of
    the teacher's own width has the teacher's own coordinates, in which its LayerNorms fit exactly.
    """
    teacher = len(mean_E)
    if width == teacher:
        return Coordinates(torch.zeros_like(mean_E), torch.eye(width, dtype=torch.float64, device=mean_E.device), 1.0)
    # On the CPU: the signs of eigenvectors are each library's own, and a GPU's would make another student.
    values, vectors = symmetric_eigen(covariance_EE.cpu())
    rank = min(width - 1, teacher)
    values, vectors = values.flip(0).clamp(min=0.0), vectors.flip(1)[:, :rank]
    random = torch.randn(width, width, generator=generator, dtype=torch.float64)
    random[:, 0] = 1.0
    rows_rD = torch.linalg.qr(random)[0].T[1 : rank + 1]
    kept = float(values[:rank].sum() / values.sum().clamp(min=torch.finfo(torch.float64).tiny))
    return Coordinates(mean_E, (vectors @ rows_rD).to(mean_E.device), kept)


def score_factors(queries_tt: Tensor, keys_tt: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Maps (A, B), each (t, rank), such that q A (k B)^T is the best approximation of that rank to the scores q k^T.

    queries_tt, keys_tt: the second moments C_q = E[q^T q] and C_k = E[k^T k] of one head. Over all pairs of tokens the
    mean squared error of the scores is || C_q^1/2 (I - A B^T) C_k^1/2 ||_F^2, so by Eckart and Young (1936) A B^T is
    C_q^-1/2 U_r S_r V_r^T C_k^-1/2 of the singular value decomposition C_q^1/2 C_k^1/2 = U S V^T. S is shared out
    evenly.
    """
    (root_q, inverse_q), (root_k, inverse_k) = _roots(queries_tt), _roots(keys_tt)
    left, values, right = torch.linalg.svd(root_q @ root_k)
    share = values[:rank].sqrt()
    return inverse_q @ left[:, :rank] * share, inverse_k @ right.T[:, :rank] * share


def value_factor(values_tt: Tensor, output_tD: Tensor, rank: int) -> Tensor:
    """A (t, rank): the directions v A of one head's values that matter most after the output matrix.

    values_tt: C_v = E[v^T v]. output_tD: the head's rows of that matrix in the student's coordinates. The first `rank`
    left singular vectors of C_v^1/2 W, back in the values' own coordinates.
    """
    root, inverse = _roots(values_tt)
    left, _, _ = torch.linalg.svd(root @ output_tD, full_matrices=False)
    return inverse @ left[:, :rank]


def choose_heads(values_Htt: Tensor, outputs_HtD: Tensor, count: int) -> list[int]:
    """Which head of the teacher each of `count` heads takes after: its own, or, where there are not as many, those with
    most effect on the output first, E |v W|^2.
    """
    own = len(values_Htt)
    if count == own:
        return list(range(own))
    effect_H = torch.einsum("htd,hts,hsd->h", outputs_HtD, values_Htt, outputs_HtD)
    order = effect_H.argsort(descending=True, stable=True).tolist()
    return [order[number % own] for number in range(count)]


def head_maps(
    queries_tt: Tensor, keys_tt: Tensor, values_tt: Tensor, output_tD: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (t, width) from the queries, keys and values of a head, of these second moments, to those of another width.

    The two models divide scores by different roots, so queries and keys get (d / t)^(1/4) each. Matrices of a head are
    small and many, so they are decomposed on the CPU, by LAPACK.
    """
    own, device = len(queries_tt), queries_tt.device
    rank = min(width, own)
    queries, keys = score_factors(queries_tt.cpu(), keys_tt.cpu(), rank)
    values = value_factor(values_tt.cpu(), output_tD.cpu(), rank)
    scale = (width / own) ** 0.25
    return tuple(  # type: ignore[return-value]
        nn.functional.pad(each, (0, width - rank)).to(device) for each in (scale * queries, scale * keys, values)
    )


def _roots(moment_tt: Tensor) -> tuple[Tensor, Tensor]:
    """(M^1/2, its pseudo-inverse) of a symmetric M that has no negative eigenvalue but by rounding."""
    values, vectors = symmetric_eigen(moment_tt)
    real = values > _SMALLEST * values[-1].clamp(min=torch.finfo(torch.float64).tiny)
    root = torch.where(real, values, 0.0).sqrt()
    inverse = torch.where(real, 1.0 / values.clamp(min=torch.finfo(torch.float64).tiny).sqrt(), 0.0)
    return (vectors * root) @ vectors.T, (vectors * inverse) @ vectors.T
