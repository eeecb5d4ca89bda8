"""The factors of scores and values are the best of their rank, and coordinates keep what can be kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatinybert.training.solve.factors import choose_coordinates, score_factors, value_factor


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def best_of_rank(matrix: Tensor, rank: int) -> Tensor:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_scores_are_the_truncated_svd_of_the_score_matrix(rank: int) -> None:
    """Of all calibration tokens with one another, which is never formed outside of this test."""
    spread = torch.linspace(2.0, 0.1, 8, dtype=torch.float64)
    queries, keys = random(60, 8) * spread, random(60, 8, seed=1) @ random(8, 8, seed=2)
    to_queries, to_keys = score_factors(queries.T @ queries / 60, keys.T @ keys / 60, rank)
    scores = (queries @ to_queries) @ (keys @ to_keys).T
    torch.testing.assert_close(scores, best_of_rank(queries @ keys.T, rank), rtol=1e-8, atol=1e-9)


def test_values_lose_least_after_the_output_matrix() -> None:
    values, output = random(60, 8) @ random(8, 8, seed=1), random(8, 20, seed=2)
    factor = value_factor(values.T @ values / 60, output, 3)
    kept = values @ factor
    recovered = kept @ torch.linalg.lstsq(kept, values @ output).solution
    torch.testing.assert_close(recovered, best_of_rank(values @ output, 3), rtol=1e-8, atol=1e-8)


def test_directions_that_are_not_there_are_left_out() -> None:
    """Dead dimensions: their second moments are 0, and nothing is divided by them."""
    queries = random(60, 8)
    queries[:, 5:] = 0.0
    moment = queries.T @ queries / 60
    factors = [*score_factors(moment, moment, 8), value_factor(moment, random(8, 20), 8)]
    factors += [*score_factors(0 * moment, 0 * moment, 4), value_factor(0 * moment, random(8, 20), 4)]
    assert all(factor.isfinite().all() for factor in factors)


def test_coordinates_are_orthonormal_have_no_mean_and_keep_the_largest_axes() -> None:
    states = random(500, 12) * torch.linspace(3.0, 0.01, 12, dtype=torch.float64) + 7.0
    mean, covariance = states.mean(dim=0), torch.cov(states.T, correction=0)
    found = choose_coordinates(mean, covariance, 6, torch.Generator().manual_seed(3))
    y = found.of(states)
    assert y.shape == (500, 6)
    torch.testing.assert_close(y.sum(dim=1), torch.zeros(500, dtype=torch.float64), atol=1e-9, rtol=0)
    variances = torch.linalg.eigvalsh(covariance).flip(0)
    assert found.kept == pytest.approx(float(variances[:5].sum() / variances.sum()))
    assert float(y.square().sum(dim=1).mean()) == pytest.approx(float(variances[:5].sum()))
    same = choose_coordinates(mean, covariance, 6, torch.Generator().manual_seed(3))
    assert torch.equal(same.map_ED, found.map_ED)


def test_a_wider_student_keeps_everything_and_an_equal_one_is_left_alone() -> None:
    states = random(200, 6)
    mean, covariance = states.mean(dim=0), torch.cov(states.T, correction=0)
    wider = choose_coordinates(mean, covariance, 9, torch.Generator().manual_seed(0))
    back = wider.of(states) @ wider.map_ED.T + mean
    torch.testing.assert_close(back, states)
    equal = choose_coordinates(mean, covariance, 6, torch.Generator().manual_seed(0))
    assert torch.equal(equal.of(states), states) and equal.kept == 1.0
