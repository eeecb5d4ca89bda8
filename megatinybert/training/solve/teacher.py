"""What a student is solved towards: the teacher's states, and what is known of its layers from one pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertModel

from megatinybert.runtime.dist import World
from megatinybert.training.solve.calibration import TEACHER, Batch, Calibration, embed
from megatinybert.training.solve.factors import Coordinates
from megatinybert.training.solve.moments import Moments
from megatinybert.training.solve.trace import Trace, real_rows

Norm = tuple[Tensor, Tensor]  # gain and bias, float64


class TeacherStates:
    """The teacher's layers of a map on batches of a calibration. Hidden states are kept as far as there is room."""

    def __init__(self, model: BertModel, layer_map: Sequence[int], calibration: Calibration) -> None:
        self.model, self.layer_map, self._calibration = model, list(layer_map), calibration

    def layer(self, batch: Batch, number: int) -> Trace:
        """All that the teacher layer of student layer `number` computes."""
        depth = self.layer_map[number]
        known = batch.parts(f"teacher's {number}")
        return Trace(self._layers[depth], self._states(batch, depth), batch.mask_BS, known)

    def keep(self, batch: Batch, number: int, part: str, states: Tensor) -> None:
        """Remember a part of `layer(batch, number)`, in place of the same part of the layer before."""
        self._calibration.forget(batch, f"teacher's {number - 1} {part}")
        self._calibration.keep(batch, f"teacher's {number} {part}", states)

    def point(self, batch: Batch, number: int) -> Tensor:
        """The teacher's states (B, S, E) that the student's states before layer `number` are to be."""
        return self._states(batch, 0 if number == 0 else self.layer_map[number - 1] + 1)

    def _states(self, batch: Batch, depth: int) -> Tensor:
        """The states that enter the teacher's layer `depth`."""
        name = f"{TEACHER}{depth}"
        if name in batch.states:
            return batch.states[name]
        if depth == 0:
            embeddings: Any = self.model.embeddings
            states = embeddings.LayerNorm(embed(embeddings, batch))
        else:
            states = Trace(self._layers[depth - 1], self._states(batch, depth - 1), batch.mask_BS, {}).output
        if depth in (0, *self.layer_map, *(layer + 1 for layer in self.layer_map)):
            self._calibration.keep(batch, name, states)
        return states

    @property
    def _layers(self) -> Any:
        return self.model.encoder.layer


@dataclass(frozen=True)
class LayerFacts:
    """What is known of a teacher layer. I inner neurons.

    activations: (I,), mean squares over the calibration. heads: how many. output, inner_output: the two output
    matrices, (H t, E) and (I, E). attention_norm, output_norm: of the two LayerNorms.
    """

    activations_I: Tensor
    heads: int
    output_AE: Tensor
    inner_output_IE: Tensor
    attention_norm: Norm
    output_norm: Norm

    def neurons(self, coordinates: Coordinates, count: int) -> Tensor:
        """The `count` inner neurons with the largest effect on the output, E[a^2] |w_out|^2, ascending."""
        effect_I = self.activations_I * (self.inner_output_IE @ coordinates.map_ED).square().sum(dim=1)
        return effect_I.topk(min(count, len(effect_I))).indices.sort().values


def survey(
    teacher: TeacherStates, batches: Callable[[], Iterator[Batch]], world: World
) -> tuple[Moments, list[LayerFacts]]:
    """One pass over the calibration: (moments of the states at all points together, facts of each layer of the map)."""
    encoder: Any = teacher.model.encoder
    layers = [encoder.layer[depth] for depth in teacher.layer_map]
    width = teacher.model.config.hidden_size
    pooled = Moments(width, 0, world.device)
    squares = [
        torch.zeros(layer.intermediate.dense.out_features, dtype=torch.float64, device=world.device) for layer in layers
    ]
    for batch in batches():
        mask = batch.mask_BS
        for point in range(len(layers) + 1):
            states = real_rows(teacher.point(batch, point), mask)
            pooled.add(states, states[:, :0], held_out=False)
        for number, own in enumerate(squares):
            own += real_rows(teacher.layer(batch, number).activated, mask).square().sum(dim=0)
    pooled = pooled.shared(world)
    tokens = max(pooled.rows // (len(layers) + 1), 1)
    facts = []
    for layer, own in zip(layers, squares, strict=True):
        matrices = layer.attention.output.dense.weight.T.double(), layer.output.dense.weight.T.double()
        norms = _norm(layer.attention.output.LayerNorm), _norm(layer.output.LayerNorm)
        facts.append(LayerFacts(world.sum(own) / tokens, layer.attention.self.num_attention_heads, *matrices, *norms))
    return pooled, facts


class PreNorm:
    """Finds what a student's states before a LayerNorm are to be, from what its teacher's are before and after its own.

    The teacher's LayerNorm gives y = z g + b from x = s z + m, with the deviation s of each token. So the student is to
    have x* = c s (y - b') / g', in its own coordinates, with the gain g' and bias b' that its LayerNorm will have: on
    the average the spread and mean of y. c brings x* nearest to the teacher's own x in these coordinates, since that is
    what the residual stream adds up to.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self._sums = torch.zeros(8, width, dtype=torch.float64, device=device)

    def add(self, coordinates: Coordinates, x_BSE: Tensor, y_BSE: Tensor, mask_BS: Tensor | None) -> None:
        x = real_rows(x_BSE, mask_BS)
        y, residual, deviation = coordinates.of(real_rows(y_BSE, mask_BS)), coordinates.of(x), _deviation(x)
        one = torch.ones_like(y)
        for number, term in enumerate(
            (
                one,
                y,
                y * y,
                deviation * y * residual,
                deviation * residual,
                deviation**2 * y * y,
                deviation**2 * y,
                deviation**2 * one,
            )
        ):
            self._sums[number] += term.sum(dim=0)

    def settle(self, world: World, norm: Norm | None) -> Callable[[Coordinates, Tensor, Tensor, Tensor | None], Tensor]:
        """The function of (coordinates, the teacher's states before and after its LayerNorm, mask) to x* (N, D).

        norm: the student's, where it is known to be its teacher's. Every rank calls it.
        """
        count, y, yy, syx, sx, ssyy, ssy, ss = world.sum(self._sums)
        count = count.clamp(min=1.0)
        mean = y / count
        spread = (yy / count - mean**2).clamp(min=0.0).sqrt()
        gain, bias = norm or (spread, mean)
        inverse = torch.where(gain.abs() > 1e-8 * gain.abs().max(), 1.0 / gain, torch.zeros_like(gain))
        products = ((syx - bias * sx) * inverse).sum()
        squares = ((ssyy - 2 * bias * ssy + bias**2 * ss) * inverse**2).sum()
        scale = products / squares.clamp(min=torch.finfo(torch.float64).tiny)

        def target(coordinates: Coordinates, x_BSE: Tensor, y_BSE: Tensor, mask_BS: Tensor | None) -> Tensor:
            x, y = real_rows(x_BSE, mask_BS), coordinates.of(real_rows(y_BSE, mask_BS))
            return scale * _deviation(x) * (y - bias) * inverse

        return target


def _deviation(x_NE: Tensor) -> Tensor:
    """Of each token's state: (N, 1)."""
    return x_NE.std(dim=1, keepdim=True, unbiased=False)


def _norm(norm: nn.LayerNorm) -> Norm:
    return norm.weight.double(), norm.bias.double()
