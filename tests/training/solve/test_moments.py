"""Least squares from sums is least squares on the rows, and never divides by what is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from megatinybert.runtime.dist import World
from megatinybert.training.solve.moments import RIDGE, RIDGES, Moments

CPU = torch.device("cpu")


def data(rows: int, inputs: int = 6, targets: int = 4, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=random, dtype=torch.float64) + 3.0
    weight = torch.randn(inputs, targets, generator=random, dtype=torch.float64)
    return x, x @ weight + 5.0 + noise * torch.randn(rows, targets, generator=random, dtype=torch.float64)


def moments(x: Tensor, y: Tensor, held_out: tuple[Tensor, Tensor] | None = None, parts: int = 3) -> Moments:
    found = Moments(x.shape[1], y.shape[1], CPU)
    for some_x, some_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
        found.add(some_x, some_y)
    if held_out:
        found.add(*held_out, held_out=True)
    return found


def literal_ridge(x: Tensor, y: Tensor, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Penalised least squares as rows: numpy's solution of the stacked system on centred data."""
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    centred = (x - x_mean).numpy()
    penalty = strength * (centred**2).sum(axis=0).mean() * np.eye(x.shape[1])
    stacked = np.concatenate([centred, np.sqrt(penalty)])
    targets = np.concatenate([(y - y_mean).numpy(), np.zeros((x.shape[1], y.shape[1]))])
    weight = np.linalg.lstsq(stacked, targets, rcond=None)[0]
    return weight, y_mean.numpy() - x_mean.numpy() @ weight


def test_it_is_ridge_regression_of_the_rows() -> None:
    x, y = data(200)
    solved = moments(x, y).ridge()
    weight, bias = literal_ridge(x, y, RIDGE)
    assert solved.ridge == RIDGE and np.isnan(solved.error)
    np.testing.assert_allclose(solved.weight_XY, weight, rtol=1e-9)
    np.testing.assert_allclose(solved.bias_Y, bias, rtol=1e-8)


def test_the_ridge_is_the_best_one_on_rows_held_out_and_all_rows_are_used() -> None:
    """Few noisy rows and many inputs: a strong ridge generalises, and a weak one does not."""
    x, y = data(24, inputs=20, noise=8.0)
    more = data(400, inputs=20, noise=8.0, seed=0)
    unseen = more[0][200:], more[1][200:]
    solved = moments(x, y, unseen).ridge()
    errors = {}
    for strength in RIDGES:
        weight, bias = literal_ridge(x, y, strength)
        errors[strength] = float(((unseen[0].numpy() @ weight + bias - unseen[1].numpy()) ** 2).mean())
    assert solved.ridge == min(errors, key=lambda strength: errors[strength])
    assert solved.error == pytest.approx(errors[solved.ridge] / float(unseen[1].var(dim=0, unbiased=False).mean()))
    weight, _ = literal_ridge(torch.cat([x, unseen[0]]), torch.cat([y, unseen[1]]), solved.ridge)
    np.testing.assert_allclose(solved.weight_XY, weight, rtol=1e-8)


def test_an_exact_map_is_found() -> None:
    x, y = data(300, noise=0.0)
    solved = moments(x[:200], y[:200], (x[200:], y[200:])).ridge()
    assert solved.ridge <= 1e-9 and solved.error < 1e-14
    torch.testing.assert_close(x @ solved.weight_XY + solved.bias_Y, y, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["no rows", "one row", "fewer rows than inputs", "constant inputs", "twins"])
def test_what_the_rows_do_not_tell_gets_no_weight_and_is_never_nan(kind: str) -> None:
    x, y = data(40, inputs=6)
    if kind == "no rows":
        x, y = x[:0], y[:0]
    elif kind == "one row":
        x, y = x[:1], y[:1]
    elif kind == "fewer rows than inputs":
        x, y = x[:3], y[:3]
    elif kind == "constant inputs":
        x = torch.ones_like(x)
    else:
        x = x[:, :1].expand(-1, 6)
    solved = moments(x, y, parts=1).ridge()
    assert solved.weight_XY.isfinite().all() and solved.bias_Y.isfinite().all()
    assert all(part.isfinite().all() for part in moments(x[:, :4], y, parts=1).gain_and_bias())
    if kind == "constant inputs":
        assert not solved.weight_XY.any()
        torch.testing.assert_close(solved.bias_Y, y.mean(dim=0))
    if kind == "twins":
        torch.testing.assert_close(solved.weight_XY, solved.weight_XY[:1].expand(6, -1), rtol=1e-6, atol=1e-9)


def test_scaled_inputs_and_chosen_targets_are_those_of_the_rows() -> None:
    x, y = data(50)
    gain, bias = torch.linspace(0.5, 2.0, 6, dtype=torch.float64), torch.linspace(-1.0, 1.0, 6, dtype=torch.float64)
    derived = moments(x, y).scaled(gain, bias).targets(1, 3)
    direct = moments(x * gain + bias, y[:, 1:3])
    torch.testing.assert_close(derived.ridge().weight_XY, direct.ridge().weight_XY)
    torch.testing.assert_close(derived.mean_and_covariance(), direct.mean_and_covariance())
    assert (derived.rows, derived.outputs) == (50, 2)


def test_gain_and_bias_are_regressions_coordinate_by_coordinate() -> None:
    x, _ = data(80, inputs=4)
    y = x * torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64) + 1.0
    gain, bias = moments(x, y).gain_and_bias()
    torch.testing.assert_close(gain, torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(bias, torch.ones(4, dtype=torch.float64))
    assert 0 <= moments(x, x).error_of_identity() <= 1e-12


def test_ranks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(90)
    whole, first, second = moments(x, y), moments(x[:30], y[:30]), moments(x[30:], y[30:])
    of_the_other = iter([second._fitted.products, second._fitted.squares_Y, *[torch.tensor(0.0)] * 2])
    monkeypatch.setattr(World, "sum", lambda self, own: own + next(of_the_other))
    shared = first.shared(World(0, 2, CPU))
    torch.testing.assert_close(shared.ridge().weight_XY, whole.ridge().weight_XY, rtol=1e-9, atol=1e-12)
    assert shared.rows == 90


def test_inputs_that_nearly_lie_in_a_subspace_get_no_huge_weights() -> None:
    """The best fit on held-out rows divides by what little they vary across it, and amplifies any noise there."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    inside, across = draw(4000, 4) @ draw(4, 12), 1e-6 * draw(4000, 12)
    x, y = inside + across, inside[:, :3] + 1e4 * across[:, :3]
    unguarded, _ = literal_ridge(x[:3000], y[:3000], 1e-12)
    solved = moments(x[:3000], y[:3000], (x[3000:], y[3000:])).ridge()

    def noise(weight: Tensor) -> float:
        return float(x.var(dim=0).mean() * weight.square().sum() / y.var(dim=0).sum())

    assert noise(torch.from_numpy(unguarded)) > 1e6, "what is guarded against"
    assert noise(solved.weight_XY) <= 1e3 and solved.error < 1e-3
