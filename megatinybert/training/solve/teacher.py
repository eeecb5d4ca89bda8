"""What a student is solved towards: the teacher's states, and what is known of its layers from one pass over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertModel

from megatinybert.runtime.dist import World
from megatinybert.training.solve.calibration import Batch, Calibration, embed
from megatinybert.training.solve.factors import Coordinates, score_factors, value_factor
from megatinybert.training.solve.moments import Moments
from megatinybert.training.solve.trace import Trace, head_rows, real_rows, trace

Norm = tuple[Tensor, Tensor]  # gain and bias, float64


class TeacherStates:
    """The teacher's layers of a map on batches of a calibration. Hidden states are kept as far as there is room."""

    def __init__(self, model: BertModel, layer_map: Sequence[int], calibration: Calibration) -> None:
        self.model, self.layer_map, self._calibration = model, list(layer_map), calibration

    def layer(self, batch: Batch, number: int) -> Trace:
        """All that the teacher layer of student layer `number` computes."""
        depth = self.layer_map[number]
        return trace(self._layers[depth], self._states(batch, depth), batch.mask_BS)

    def point(self, batch: Batch, number: int) -> Tensor:
        """The teacher's states (B, S, E) that the student's states before layer `number` are to be."""
        return self._states(batch, 0 if number == 0 else self.layer_map[number - 1] + 1)

    def _states(self, batch: Batch, depth: int) -> Tensor:
        """The states that enter the teacher's layer `depth`."""
        name = f"teacher {depth}"
        if name in batch.states:
            return batch.states[name]
        if depth == 0:
            embeddings: Any = self.model.embeddings
            states = embeddings.LayerNorm(embed(embeddings, batch))
        else:
            states = trace(self._layers[depth - 1], self._states(batch, depth - 1), batch.mask_BS).output
        if depth in (0, *self.layer_map, *(layer + 1 for layer in self.layer_map)):
            self._calibration.keep(batch, name, states)
        return states

    @property
    def _layers(self) -> Any:
        return self.model.encoder.layer


@dataclass(frozen=True)
class LayerFacts:
    """Second moments of a teacher layer over the calibration. H heads of width t, I inner neurons.

    queries, keys, values: (H, t, t). activations: (I,), mean squares. output, inner_output: the two output matrices,
    (H t, E) and (I, E). attention_norm, output_norm: of the two LayerNorms.
    """

    queries_Htt: Tensor
    keys_Htt: Tensor
    values_Htt: Tensor
    activations_I: Tensor
    output_AE: Tensor
    inner_output_IE: Tensor
    attention_norm: Norm
    output_norm: Norm

    def heads(self, coordinates: Coordinates, count: int) -> list[int]:
        """Which head of the teacher each of `count` heads of a student takes after."""
        own = len(self.queries_Htt)
        if count == own:
            return list(range(own))
        outputs_HtD = (self.output_AE @ coordinates.map_ED).unflatten(0, (own, -1))
        effect_H = torch.einsum("htd,hts,hsd->h", outputs_HtD, self.values_Htt, outputs_HtD)
        order = effect_H.argsort(descending=True, stable=True).tolist()
        return [order[number % own] for number in range(count)]

    def head_maps(self, coordinates: Coordinates, head: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (t, width) from the queries, keys and values of a head to those of a student's head of that width.

        The two models divide scores by different roots, so queries and keys get (d / t)^(1/4) each. Matrices of a head
        are small and many, so they are decomposed on the CPU, by LAPACK.
        """
        own, device = self.queries_Htt.shape[-1], self.queries_Htt.device
        rank = min(width, own)
        queries, keys = score_factors(self.queries_Htt[head].cpu(), self.keys_Htt[head].cpu(), rank)
        output_tD = (self.output_AE @ coordinates.map_ED).unflatten(0, (-1, own))[head]
        values = value_factor(self.values_Htt[head].cpu(), output_tD.cpu(), rank)
        scale = (width / own) ** 0.25
        return tuple(  # type: ignore[return-value]
            nn.functional.pad(each, (0, width - rank)).to(device) for each in (scale * queries, scale * keys, values)
        )

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
    sums: list[list[Tensor]] = [[] for _ in layers]
    rows = torch.zeros((), dtype=torch.float64, device=world.device)
    for batch in batches():
        mask = batch.mask_BS
        for point in range(len(layers) + 1):
            states = real_rows(teacher.point(batch, point), mask)
            pooled.add(states, states[:, :0], held_out=False)
        rows += len(states)
        for number, own in enumerate(sums):
            traced = teacher.layer(batch, number)
            found = [_second_moments(head_rows(part, mask)) for part in (traced.queries, traced.keys, traced.values)]
            found.append(real_rows(traced.activated, mask).square().sum(dim=0))
            sums[number] = [before + now for before, now in zip(own, found, strict=True)] if own else found
    shapes = [_empty_sums(layer) for layer in layers]
    count = world.sum(rows).clamp(min=1.0)
    facts = []
    for layer, own, empty in zip(layers, sums, shapes, strict=True):
        queries, keys, values, activations = (
            world.sum(each) / count for each in (own or [part.to(world.device) for part in empty])
        )
        matrices = layer.attention.output.dense.weight.T.double(), layer.output.dense.weight.T.double()
        norms = _norm(layer.attention.output.LayerNorm), _norm(layer.output.LayerNorm)
        facts.append(LayerFacts(queries, keys, values, activations, *matrices, *norms))
    return pooled.shared(world), facts


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


def _second_moments(rows_HNt: Tensor) -> Tensor:
    return rows_HNt.transpose(1, 2) @ rows_HNt


def _empty_sums(layer: Any) -> list[Tensor]:
    """Those of a rank without a batch."""
    own = layer.attention.self
    heads, width = own.num_attention_heads, own.attention_head_size
    squares = torch.zeros(heads, width, width, dtype=torch.float64)
    return [squares, squares, squares, torch.zeros(layer.intermediate.dense.out_features, dtype=torch.float64)]


def _norm(norm: nn.LayerNorm) -> Norm:
    return norm.weight.double(), norm.bias.double()
