"""Attention maps of one held-out window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig

from megatinybert.config.monitor import MonitorConfig
from megatinybert.config.transfer import TransferConfig
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.models.capture import Features, padding_mask
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import Teacher
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.batches import HeldOutData, as_tensors
from megatinybert.tracking.attention_figure import LayerMaps, draw
from megatinybert.tracking.figures import FONT_ADVICE, drawable, render
from megatinybert.tracking.measurements import tag_prefix

DEFAULT_HEADS = 4
FEWEST_STEPS = 250  # from picture to picture by default: in a shorter run pictures would take a good part of the time
MOST_PICTURES = 8  # of a layer in one run, beside the one of step 0: TensorBoard shows ten of a tag


@dataclass(frozen=True)
class MapChoice:
    """What is drawn. layers: (student layer, its teacher layer), counted from 0; heads: of both models."""

    layers: Sequence[tuple[int, int]]
    heads: Sequence[int]


class MapOptions(Protocol):
    """The options that say what is drawn."""

    @property
    def monitor(self) -> MonitorConfig: ...
    @property
    def objective(self) -> TransferConfig: ...


def choose_maps(config: MapOptions, student: BertConfig, teacher: BertConfig, teacher_depth: int) -> MapChoice | None:
    """What the section `monitor` asks for; None where nothing is to be drawn.

    teacher: the whole one's configuration. teacher_depth: how many of its layers run. Of layers that are not asked for
    by number, those are left out whose teacher layer does not run. Raises ValueError for what the models do not have.
    """
    wanted = config.monitor
    if wanted.attention_interval == 0:
        return None
    count = student.num_hidden_layers
    common = min(student.num_attention_heads, teacher.num_attention_heads)
    problems = []
    if wanted.attention_layers and max(wanted.attention_layers) >= count:
        problems.append(
            f"--monitor.attention_layers {wanted.attention_layers}: the student has {count} layers, counted from 0: "
            f"name some of 0 .. {count - 1}"
        )
    if wanted.attention_heads and max(wanted.attention_heads) >= common:
        problems.append(
            f"--monitor.attention_heads {wanted.attention_heads}: the student has {student.num_attention_heads} heads "
            f"and the teacher {teacher.num_attention_heads}, counted from 0: name some of 0 .. {common - 1}"
        )
    if problems:
        raise ValueError("\n".join(problems))
    layer_map = resolve_layer_map(config.objective.layer_map, count, teacher.num_hidden_layers)
    layers = [(layer, layer_map[layer]) for layer in wanted.attention_layers or range(count)]
    beyond = [layer for layer, teacher_layer in layers if teacher_layer >= teacher_depth]
    if beyond and wanted.attention_layers:
        raise ValueError(
            f"--monitor.attention_layers {wanted.attention_layers}: layer {beyond[0]} learns from the teacher's layer "
            f"{layer_map[beyond[0]]}, but the objective runs only {teacher_depth} layers of it: leave it out"
        )
    drawn = [pair for pair in layers if pair[0] not in beyond]
    if not drawn:
        return None
    return MapChoice(drawn, wanted.attention_heads or range(min(DEFAULT_HEADS, common)))


def drawing_interval(monitor: MonitorConfig, held_out_interval: int, max_steps: int) -> int:
    """Steps from picture to picture. A run of fewer has those of step 0 and of its end."""
    return monitor.attention_interval or max(held_out_interval, FEWEST_STEPS, math.ceil(max_steps / MOST_PICTURES))


class AttentionPictures:
    """Draws what was chosen, of the first held-out window, every `interval` steps. tokenizer: folder or hub name.

    legend: Markdown, the tokens that stand in the pictures as their place; "" where all can be drawn.
    """

    def __init__(
        self, chosen: MapChoice, teacher: Teacher, data: HeldOutData, tokenizer: str, world: World, interval: int
    ) -> None:
        self.interval = interval
        self._chosen, self._teacher, self._world = chosen, teacher, world
        self._window = as_tensors(data.batch(np.array([0])), world.device)
        names = load_tokenizer(tokenizer)
        ids = self._window["input_ids"][0].tolist()
        tokens = [names.id_to_token(token) or str(token) for token in ids]
        self._tokens, legend = drawable(tokens)
        self.legend = legend_text(legend)

    def of(self, trainees: Trainees, step: int) -> dict[str, np.ndarray]:
        """{tag: image, uint8 (height, width, 3)} of every student and chosen layer. Collective; empty but on rank 0."""
        maps = attention_maps(trainees, self._teacher, self._window, self._chosen)
        if not self._world.is_main:
            return {}
        return {
            f"{tag_prefix(name, trainees)}maps/attention_layer_{layer.student_layer}": render(
                draw(layer, self._chosen.heads, self._tokens, step, numbered=bool(self.legend))
            )
            for name, layers in maps.items()
            for layer in layers
        }


def legend_text(legend: Mapping[str, str]) -> str:
    """Markdown. legend: what stands for labels that cannot be drawn."""
    if not legend:
        return ""
    lines = "\n".join(f"- {number} {label}" for number, label in legend.items())
    return f"No font of this machine has these characters: {FONT_ADVICE}.\n\n{lines}"


@torch.no_grad()
def attention_maps(
    trainees: Trainees, teacher: Teacher, window: dict[str, Tensor], chosen: MapChoice
) -> dict[str, list[LayerMaps]]:
    """The chosen maps of every student, dropout off. window: a batch of one row.

    Every rank calls it with the same window, because ZeRO-3 gathers the student's weights in its forward pass.
    """
    features, mask_BS = teacher.features(window), padding_mask(window)
    maps: dict[str, list[LayerMaps]] = {}
    with trainees.evaluating():
        for name, engine in trainees.items():
            _, _, student = engine(window, engine.module.sees(features))
            maps[name] = [
                LayerMaps(
                    ours,
                    theirs,
                    _probabilities(student, ours, chosen.heads, mask_BS),
                    _probabilities(features, theirs, chosen.heads, mask_BS),
                )
                for ours, theirs in chosen.layers
            ]
    return maps


def _probabilities(features: Features, layer: int, heads: Sequence[int], mask_BS: Tensor | None) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) of the first row of a batch: float32 (H, S, S)."""
    chosen = list(heads)
    q_HSD, k_HSD = (states[layer][0, chosen].float() for states in (features.queries, features.keys))
    scores_HSS = q_HSD @ k_HSD.transpose(-1, -2) / math.sqrt(q_HSD.shape[-1])
    if mask_BS is not None:
        scores_HSS = scores_HSS.masked_fill(~mask_BS[0], -math.inf)
    return scores_HSS.softmax(dim=-1).cpu().numpy()
