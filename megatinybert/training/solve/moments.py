"""Least squares from sums: linear maps fitted without ever holding the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from megatinybert.runtime.dist import World
from megatinybert.training.solve.eigen import symmetric_eigen

# Ridges that are tried, as shares of the mean variance of the inputs; and the one where no rows are held out.
RIDGES, RIDGE = (1e-12, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1), 1e-3
# By how much a map may amplify noise in its inputs, as a ratio of relative variances. Inputs that nearly lie in a
# subspace are fitted best with huge weights, which turn the rounding of 16 bits, or one step of training, into errors.
_AMPLIFIES = 1e3
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class Linear:
    """y = x @ weight_XY + bias_Y. ridge: the chosen one. error: on held-out rows, a share of the targets' variance;
    NaN where none are held out."""

    weight_XY: Tensor
    bias_Y: Tensor
    ridge: float
    error: float

    def through(self, heads: list[int], maps_HYZ: Tensor, own: int) -> Linear:
        """Followed by a map for each of some heads of its outputs, which are `own` heads side by side."""
        weight = self.weight_XY.unflatten(1, (own, -1))[:, heads]
        bias = self.bias_Y.unflatten(0, (own, -1))[heads]
        mapped = torch.einsum("xhy,hyz->xhz", weight, maps_HYZ).flatten(1)
        return Linear(mapped, torch.einsum("hy,hyz->hz", bias, maps_HYZ).flatten(), self.ridge, self.error)


@dataclass(frozen=True)
class _Part:
    """Sums over rows (1, x, y), float64. products: of (1, x) with all, (1 + X, 1 + X + Y). squares: of y, (Y,)."""

    products: Tensor
    squares_Y: Tensor

    @property
    def inputs(self) -> int:
        return len(self.products) - 1

    def __add__(self, other: _Part) -> _Part:
        return _Part(self.products + other.products, self.squares_Y + other.squares_Y)

    @property
    def count(self) -> Tensor:
        return self.products[0, 0].clamp(min=1.0)

    @property
    def means(self) -> tuple[Tensor, Tensor]:
        """Of x and of y."""
        means = self.products[0, 1:] / self.count
        return means[: self.inputs], means[self.inputs :]

    @property
    def covariances(self) -> tuple[Tensor, Tensor]:
        """Of x with x (X, X) and of x with y (X, Y)."""
        mean_X, mean_Y = self.means
        covariance = self.products[1:, 1:] / self.count - mean_X[:, None] * torch.cat([mean_X, mean_Y])
        return covariance[:, : self.inputs], covariance[:, self.inputs :]

    @property
    def variances_Y(self) -> Tensor:
        return (self.squares_Y / self.count - self.means[1] ** 2).clamp(min=0.0)

    def amplification(self, weight_XY: Tensor) -> float:
        """Variance that noise of relative variance 1 in the inputs adds to the outputs, as a share of the targets'."""
        noise = self.covariances[0].diagonal().mean() * weight_XY.square().sum()
        return float(noise / self.variances_Y.sum().clamp(min=_TINY))

    def error(self, weight_XY: Tensor, bias_Y: Tensor) -> float:
        """Mean squared error of a linear map, as a share of the targets' variance."""
        (mean_X, mean_Y), (xx, xy) = self.means, self.covariances
        offset = mean_X @ weight_XY + bias_Y - mean_Y
        explained = 2 * (weight_XY * xy).sum() - ((xx @ weight_XY) * weight_XY).sum()
        variance = self.variances_Y.sum()
        squares = (variance - explained + offset.square().sum()).clamp(min=0)  # a difference of sums can round below 0
        return float(squares / variance.clamp(min=_TINY))


class Moments:
    """Sums of rows x (N, X) and targets y (N, Y): float64, of a size that does not depend on N.

    Rows that are held out are kept apart: on their sums the ridge is chosen.
    """

    def __init__(self, inputs: int, targets: int, device: torch.device) -> None:
        def part() -> _Part:
            products = torch.zeros(1 + inputs, 1 + inputs + targets, dtype=torch.float64, device=device)
            return _Part(products, products.new_zeros(targets))

        self._fitted, self._held_out = part(), part()

    @classmethod
    def _of(cls, fitted: _Part, held_out: _Part) -> Moments:
        moments = cls.__new__(cls)
        moments._fitted, moments._held_out = fitted, held_out
        return moments

    def add(self, x_NX: Tensor, y_NY: Tensor, held_out: bool = False) -> None:
        """Count rows in, float64."""
        part = self._held_out if held_out else self._fitted
        inputs = torch.cat([x_NX.new_ones(len(x_NX), 1), x_NX], dim=1)
        part.products[:] += inputs.T @ torch.cat([inputs, y_NY], dim=1)
        part.squares_Y[:] += y_NY.square().sum(dim=0)

    def shared(self, world: World) -> Moments:
        """The sums over all ranks. Every rank calls it."""
        parts = [_Part(world.sum(p.products), world.sum(p.squares_Y)) for p in (self._fitted, self._held_out)]
        return Moments._of(*parts)

    def scaled(self, gain_X: Tensor, bias_X: Tensor) -> Moments:
        """The moments of inputs x * gain + bias."""

        def scale(part: _Part) -> _Part:
            one = gain_X.new_ones(1)
            gain, bias = torch.cat([one, gain_X]), torch.cat([torch.zeros_like(one), bias_X])
            rows = part.products * gain[:, None] + bias[:, None] * part.products[0]
            ours, theirs = rows[:, : len(gain)], rows[:, len(gain) :]
            return _Part(torch.cat([ours * gain + bias * ours[:, :1], theirs], dim=1), part.squares_Y)

        return Moments._of(scale(self._fitted), scale(self._held_out))

    def targets(self, start: int, end: int) -> Moments:
        """The same with some of the targets alone."""
        return self.chosen(torch.arange(start, end, device=self.device))

    def chosen(self, targets: Tensor) -> Moments:
        """The same with the targets of these numbers alone, in this order."""

        def cut(part: _Part) -> _Part:
            ours, theirs = part.products[:, : 1 + part.inputs], part.products[:, 1 + part.inputs :]
            return _Part(torch.cat([ours, theirs[:, targets]], dim=1), part.squares_Y[targets])

        return Moments._of(cut(self._fitted), cut(self._held_out))

    def __add__(self, other: Moments) -> Moments:
        return Moments._of(self._fitted + other._fitted, self._held_out + other._held_out)

    @property
    def _all(self) -> _Part:
        return self._fitted + self._held_out

    @property
    def rows(self) -> int:
        return int(self._all.products[0, 0])

    @property
    def outputs(self) -> int:
        """How many targets there are."""
        return len(self._fitted.squares_Y)

    @property
    def device(self) -> torch.device:
        return self._fitted.products.device

    def mean_and_covariance(self) -> tuple[Tensor, Tensor]:
        """Of the inputs: (X,), (X, X)."""
        everything = self._all
        return everything.means[0], everything.covariances[0]

    def second_moments_of(self, linear: Linear, heads: int) -> Tensor:
        """E[z^T z] of each head (H, t, t) of what a linear map makes of the inputs, z = x @ weight + bias (H t)."""
        everything = self._all
        inputs = everything.products[:, : 1 + everything.inputs] / everything.count
        maps_HXt = torch.cat([linear.bias_Y[None], linear.weight_XY]).unflatten(1, (heads, -1)).transpose(0, 1)
        return maps_HXt.transpose(1, 2) @ inputs @ maps_HXt

    def gain_and_bias(self) -> tuple[Tensor, Tensor]:
        """Least squares of target d by input d, a gain and a bias for each: (gain (X,), bias (X,))."""
        everything = self._all
        (mean_X, mean_Y), (xx, xy) = everything.means, everything.covariances
        variance = xx.diagonal()
        gain = torch.where(variance > 0, xy.diagonal() / variance.clamp(min=_TINY), 0.0)
        return gain, mean_Y - gain * mean_X

    def error_of_identity(self) -> float:
        """Mean squared difference of inputs and targets, as a share of the targets' variance."""
        eye = torch.eye(self.outputs, dtype=torch.float64, device=self.device)
        return self._all.error(eye, torch.zeros_like(eye[0]))

    def ridge(self) -> Linear:
        """The linear map of least squared error plus ridge (Hoerl and Kennard 1970), with a bias that is not penalised.

        Its strength is the one of RIDGES with the least error on the rows held out, among those that do not amplify
        noise beyond measure; where no rows are held out, RIDGE.
        """
        whole = _Spectrum(self._all)
        if min(float(part.products[0, 0]) for part in (self._fitted, self._held_out)) == 0:
            return Linear(*whole.solve(RIDGE), RIDGE, float("nan"))
        fitted = _Spectrum(self._fitted)
        maps = {strength: fitted.solve(strength) for strength in RIDGES}
        steady = [each for each in RIDGES if self._fitted.amplification(maps[each][0]) <= _AMPLIFIES] or RIDGES[-1:]
        errors = {strength: self._held_out.error(*maps[strength]) for strength in steady}
        best = min(errors, key=lambda strength: errors[strength])
        return Linear(*whole.solve(best), best, errors[best])


class _Spectrum:
    """The covariance of the inputs in its eigenbasis, so that each ridge costs a product."""

    def __init__(self, part: _Part) -> None:
        (self._mean_X, self._mean_Y), (inputs_XX, both_XY) = part.means, part.covariances
        values, self._vectors = symmetric_eigen(inputs_XX)
        self._values = values.clamp(min=0.0)
        self._both = self._vectors.T @ both_XY

    def solve(self, strength: float) -> tuple[Tensor, Tensor]:
        """(weight (X, Y), bias (Y,)). Directions in which the inputs do not vary get no weight."""
        mean = float(self._values.mean())
        if mean <= 0.0:
            return torch.zeros_like(self._both), self._mean_Y
        weight_XY = self._vectors @ (self._both / (self._values + strength * mean)[:, None])
        return weight_XY, self._mean_Y - self._mean_X @ weight_XY
