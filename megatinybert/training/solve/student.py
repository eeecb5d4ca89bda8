"""A student solved layer by layer from its teacher, each layer on the student's own states so far.

Every step is a least-squares problem between what the student has at a place and what its teacher has there, in the
student's coordinates (`factors.choose_coordinates`). So a layer corrects what the ones before it got wrong, and the
last product of a layer bridges the teacher's layers that the map skips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertModel

from megatinybert.runtime.dist import World
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.runtime.stopwatch import duration
from megatinybert.training.solve.calibration import Batch, Calibration, embed
from megatinybert.training.solve.factors import Coordinates, choose_coordinates, choose_heads, head_maps
from megatinybert.training.solve.moments import Linear, Moments
from megatinybert.training.solve.record import SolvingRecord
from megatinybert.training.solve.teacher import LayerFacts, PreNorm, TeacherStates, survey
from megatinybert.training.solve.trace import Trace, merge_heads, normalized, real_rows


@dataclass(frozen=True)
class Solution:
    """What solving came to. tokens: it was solved on, padding not counted. kept: share of the variance of the teacher's
    states that the student's width holds. errors: of the student's states at the embeddings and after each layer, as
    shares of the variance of what they should be. projection: from the states of a point to the teacher's, by point.
    """

    tokens: int
    seconds: float
    kept: float
    errors: list[float]
    projections: list[Linear]
    projection: Linear

    @property
    def record(self) -> SolvingRecord:
        return SolvingRecord(self.tokens, self.seconds, self.kept, self.errors)

    def __str__(self) -> str:
        errors = ", ".join(f"{error:.3f}" for error in self.errors)
        return (
            f"solved on {self.tokens:,} tokens in {duration(self.seconds)}; errors of its states (embeddings, then "
            f"each layer), as shares of their variance: {errors}"
        )


@torch.no_grad()
def solve_student(
    student: BertModel, teacher: BertModel, layer_map: Sequence[int], calibration: Calibration, seed: int, world: World
) -> Solution:
    """Give `student` weights that make its states and scores those of `teacher` as nearly as its width allows.

    Both are in eval mode on the world's device; the teacher has the layers of `layer_map` at least, and may be in 16
    bits. Every rank calls it, with its own part of the calibration.
    """
    began = time.perf_counter()
    student.eval()
    passes = 2 + 4 * len(layer_map)
    title = f"solving on {calibration.in_words()}, {passes} passes"
    with progress_bar(passes * calibration.count, "batch", desc=title, disable=not world.is_main) as bar:

        def batches() -> Iterator[Batch]:
            for batch in calibration:
                yield batch
                bar.update(world.size)

        states = TeacherStates(teacher, layer_map, calibration)
        moments, facts = survey(states, batches, world)
        mean_E, covariance_EE = moments.mean_and_covariance()
        generator = torch.Generator().manual_seed(seed)
        coordinates = choose_coordinates(mean_E, covariance_EE, student.config.hidden_size, generator)
        solver = _Solver(student, states, facts, coordinates, calibration, batches, world)
        solver.embeddings()
        for layer in range(len(layer_map)):
            solver.attention(layer)
            solver.feed_forward(layer)
        solver.end()
    points = solver.points
    pooled = points[0]
    for other in points[1:]:
        pooled = pooled + other
    tokens, projections, projection = moments.rows // len(points), [point.ridge() for point in points], pooled.ridge()
    seconds = time.perf_counter() - began
    return Solution(tokens, seconds, coordinates.kept, solver.errors, projections, projection)


class _Solver:
    """points: moments of the student's states with the teacher's at the embeddings and after each layer."""

    def __init__(
        self,
        student: BertModel,
        teacher: TeacherStates,
        facts: Sequence[LayerFacts],
        coordinates: Coordinates,
        calibration: Calibration,
        batches: Callable[[], Iterator[Batch]],
        world: World,
    ) -> None:
        self._student, self._teacher, self._facts = student, teacher, facts
        self._coordinates, self._calibration = coordinates, calibration
        self._batches, self._world = batches, world
        self._width: int = student.config.hidden_size
        self._layers: Any = student.encoder.layer
        self._own = coordinates.kept == 1.0 and self._width == len(coordinates.mean_E)  # the teacher's own coordinates
        self.points: list[Moments] = []
        self.errors: list[float] = []

    def embeddings(self) -> None:
        """Tables of words, positions, segments: the teacher's, times its LayerNorm's gain, in our coordinates."""
        ours: Any = self._student.embeddings
        theirs: Any = self._teacher.model.embeddings
        gain = torch.ones_like(theirs.LayerNorm.weight) if self._own else theirs.LayerNorm.weight
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            into, source = getattr(ours, name).weight, getattr(theirs, name).weight.double()
            rows = min(len(into), len(source))
            centred = source[:rows] if self._own else source[:rows] - source[:rows].mean(dim=1, keepdim=True)
            into[:rows] = (centred * gain.double() @ self._coordinates.map_ED).to(into.dtype)

    def attention(self, layer: int) -> None:
        """The LayerNorm before the layer, its queries, keys and values, and its output matrix."""
        width, facts, wide = self._width, self._facts[layer], len(self._coordinates.mean_E)
        inner = facts.output_AE.shape[0]
        moments = self._moments(width, width + 3 * inner + wide)
        before = PreNorm(width, moments.device)
        for batch in self._batches():
            theirs, point = self._teacher.layer(batch, layer), self._teacher.point(batch, layer)
            mask = batch.mask_BS
            states = real_rows(point, mask)
            asked = [real_rows(merge_heads(each), mask) for each in (theirs.queries, theirs.keys, theirs.values)]
            x = real_rows(self._normalized(batch, layer), mask)
            moments.add(x, torch.cat([self._coordinates.of(states), *asked, states], dim=1), batch.held_out)
            before.add(self._coordinates, theirs.attended, theirs.attention, mask)
            self._teacher.keep(batch, layer, "attended", theirs.attended)
        states_here = self._end_point(moments, layer)
        self._queries_keys_values(layer, states_here.targets(width, width + 3 * inner))
        target = before.settle(self._world, facts.attention_norm if self._own else None)
        moments = self._moments(width, width)
        for batch in self._batches():
            mask = batch.mask_BS
            theirs = self._teacher.layer(batch, layer)
            mine = self._layer(batch, layer)
            entering = real_rows(self._entering(batch, layer), mask)
            wanted = target(self._coordinates, theirs.attended, theirs.attention, mask) - entering
            moments.add(real_rows(mine.context, mask), _centred(wanted), batch.held_out)
            self._keep(batch, layer, "context", mine.context)
        set_linear(self._layers[layer].attention.output.dense, moments.shared(self._world).ridge())

    def _queries_keys_values(self, layer: int, moments: Moments) -> None:
        """Predict the teacher's queries, keys and values from the student's states; then keep what fits its heads.

        moments: of the states that enter the layer, with the teacher's queries, keys and values, (3 H t) targets.
        """
        own, facts = self._layers[layer].attention.self, self._facts[layer]
        inner, heads = facts.output_AE.shape[0], own.num_attention_heads
        outputs_HtD = (facts.output_AE @ self._coordinates.map_ED).unflatten(0, (facts.heads, -1))
        predicted = [moments.targets(start, start + inner).ridge() for start in range(0, 3 * inner, inner)]
        queries, keys, values = (moments.second_moments_of(each, facts.heads) for each in predicted)
        sources = choose_heads(values, outputs_HtD, heads)
        maps = [
            head_maps(queries[head], keys[head], values[head], outputs_HtD[head], own.attention_head_size)
            for head in sources
        ]
        linears = own.query, own.key, own.value
        for linear, solved, head_by_head in zip(linears, predicted, zip(*maps, strict=True), strict=True):
            set_linear(linear, solved.through(sources, torch.stack(head_by_head), facts.heads))

    def feed_forward(self, layer: int) -> None:
        """The LayerNorm after attention and the two matrices after it."""
        width, facts, own = self._width, self._facts[layer], self._layers[layer]
        inner = own.intermediate.dense.out_features
        kept = facts.neurons(self._coordinates, inner)
        moments = self._moments(width, width + len(kept))
        before = PreNorm(width, moments.device)
        for batch in self._batches():
            mask = batch.mask_BS
            theirs = self._teacher.layer(batch, layer)
            mine = self._layer(batch, layer)
            x = real_rows(normalized(mine.attended, own.attention.output.LayerNorm), mask)
            y = self._coordinates.of(real_rows(theirs.attention, mask))
            moments.add(x, torch.cat([y, real_rows(theirs.inner, mask)[:, kept]], dim=1), batch.held_out)
            before.add(self._coordinates, theirs.summed, theirs.output, mask)
            self._teacher.keep(batch, layer, "summed", theirs.summed)
            self._keep(batch, layer, "attended", mine.attended)
        moments = moments.shared(self._world)
        gain, bias = moments.targets(0, width).gain_and_bias()
        _set_norm(own.attention.output.LayerNorm, gain, bias)
        set_linear(own.intermediate.dense, moments.scaled(gain, bias).targets(width, width + len(kept)).ridge())
        target = before.settle(self._world, facts.output_norm if self._own else None)
        moments = self._moments(inner, width)
        for batch in self._batches():
            mask = batch.mask_BS
            theirs = self._teacher.layer(batch, layer)
            mine = self._layer(batch, layer)
            wanted = target(self._coordinates, theirs.summed, theirs.output, mask) - real_rows(mine.attention, mask)
            moments.add(real_rows(mine.activated, mask), _centred(wanted), batch.held_out)
        set_linear(own.output.dense, moments.shared(self._world).ridge())

    def end(self) -> None:
        """The last LayerNorm."""
        layer = len(self._layers)
        moments = self._moments(self._width, self._width + len(self._coordinates.mean_E))
        for batch in self._batches():
            point, mask = self._teacher.point(batch, layer), batch.mask_BS
            states = real_rows(point, mask)
            x = real_rows(self._normalized(batch, layer), mask)
            moments.add(x, torch.cat([self._coordinates.of(states), states], dim=1), batch.held_out)
        self._end_point(moments, layer)

    def _end_point(self, moments: Moments, layer: int) -> Moments:
        """Fit the LayerNorm that ends at a point: the moments of the student's states there, with the same targets.

        moments: of the states without gain and bias, with targets that begin with the student's own states and end with
        the teacher's.
        """
        width, teacher = self._width, len(self._coordinates.mean_E)
        moments = moments.shared(self._world)
        gain, bias = moments.targets(0, width).gain_and_bias()
        _set_norm(self._norm_before(layer), gain, bias)
        scaled = moments.scaled(gain, bias)
        self.errors.append(scaled.targets(0, width).error_of_identity())
        self.points.append(scaled.targets(scaled.outputs - teacher, scaled.outputs))
        return scaled

    def _norm_before(self, layer: int) -> nn.LayerNorm:
        norm: nn.LayerNorm = (
            self._student.embeddings.LayerNorm if layer == 0 else self._layers[layer - 1].output.LayerNorm
        )
        return norm

    def _normalized(self, batch: Batch, layer: int) -> Tensor:
        """The student's states that enter a layer, before gain and bias of the LayerNorm there."""
        if layer == 0:
            return normalized(embed(self._student.embeddings, batch), self._student.embeddings.LayerNorm)
        summed = self._layer(batch, layer - 1).summed
        return normalized(summed, self._layers[layer - 1].output.LayerNorm)

    def _entering(self, batch: Batch, layer: int) -> Tensor:
        """The student's states that enter a layer whose LayerNorm before it is solved."""
        name = f"student {layer}"
        if name in batch.states:
            return batch.states[name]
        if layer == 0:
            states: Tensor = self._student.embeddings.LayerNorm(embed(self._student.embeddings, batch))
        else:
            states = self._layer(batch, layer - 1).output
        self._calibration.keep(batch, name, states)
        self._calibration.forget(batch, f"student {layer - 1}")
        return states

    def _layer(self, batch: Batch, layer: int) -> Trace:
        known = batch.parts(f"student's {layer}")
        return Trace(self._layers[layer], self._entering(batch, layer), batch.mask_BS, known)

    def _keep(self, batch: Batch, layer: int, part: str, states: Tensor) -> None:
        """Remember a part of a layer that is solved so far, in place of the same part of the layer before."""
        self._calibration.forget(batch, f"student's {layer - 1} {part}")
        self._calibration.keep(batch, f"student's {layer} {part}", states)

    def _moments(self, inputs: int, targets: int) -> Moments:
        return Moments(inputs, targets, self._world.device)


def _centred(wanted_ND: Tensor) -> Tensor:
    """Without what points along the vector of ones: LayerNorm drops it, and nothing is to be fitted to it."""
    return wanted_ND - wanted_ND.mean(dim=1, keepdim=True)


def set_linear(linear: nn.Linear, solved: Linear) -> None:
    """Rows that nothing was solved for, of a layer wider than the teacher's, are 0."""
    rows = solved.weight_XY.shape[1]
    linear.weight.zero_()
    linear.bias.zero_()
    linear.weight[:rows] = solved.weight_XY.T.to(linear.weight.dtype)
    linear.bias[:rows] = solved.bias_Y.to(linear.bias.dtype)


def _set_norm(norm: nn.LayerNorm, gain: Tensor, bias: Tensor) -> None:
    norm.weight.copy_(gain)
    norm.bias.copy_(bias)
