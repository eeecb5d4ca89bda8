"""Eigenvalues of the symmetric matrices that solving meets, also where many of them are 0."""

from __future__ import annotations

import torch
from torch import Tensor


def symmetric_eigen(matrix_NN: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending (N,), and eigenvectors, by column (N, N), of a float64 matrix.

    LAPACK sometimes fails to converge where many eigenvalues are the same, as those of inputs that never vary are. Then
    they are told apart by additions of the size of a rounding error.
    """
    try:
        return torch.linalg.eigh(matrix_NN)
    except torch.linalg.LinAlgError:
        size = torch.finfo(matrix_NN.dtype).eps * matrix_NN.diagonal().abs().max()
        apart_N = torch.linspace(1.0, 2.0, len(matrix_NN), dtype=matrix_NN.dtype, device=matrix_NN.device)
        return torch.linalg.eigh(matrix_NN + torch.diag(size * apart_N))
