"""Eigenvalues are there where LAPACK does not find them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from megatinybert.training.solve.eigen import symmetric_eigen


def with_dead_inputs(seed: int) -> Tensor:
    """The second moments of 60 inputs, all but 6 of which never vary."""
    rows = torch.randn(40, 60, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows[:, torch.randperm(60, generator=torch.Generator().manual_seed(seed))[6:]] = 0.0
    return rows.T @ rows / 40


@pytest.mark.parametrize("fails", [False, True])
def test_they_are_those_of_the_matrix(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    matrix = with_dead_inputs(0)
    if fails:
        calls: list[Tensor] = []
        eigh: Callable[..., Any] = torch.linalg.eigh

        def once(given: Tensor) -> Any:
            calls.append(given)
            if len(calls) == 1:
                raise torch.linalg.LinAlgError("the algorithm failed to converge")
            return eigh(given)

        monkeypatch.setattr(torch.linalg, "eigh", once)
    values, vectors = symmetric_eigen(matrix)
    torch.testing.assert_close((vectors * values) @ vectors.T, matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(60, dtype=torch.float64))
    assert (values[1:] >= values[:-1]).all() and (values[:54].abs() < 1e-12).all() and (values[54:] > 1e-3).all()
