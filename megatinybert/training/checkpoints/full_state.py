"""What a checkpoint holds of a trainee as whole tensors, whatever the ZeRO stage and the number of ranks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.fp16.loss_scaler import LossScalerBase
from torch import Tensor

from megatinybert.training.checkpoints.files import CheckpointFiles

WEIGHT = "weight"  # beside the moments: the weight itself, in the precision that the optimizer updates
MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW; SGD has none
_COUNTERS = ("global_steps", "global_samples", "skipped_steps")  # of DeepSpeed's engine


@dataclass
class About:
    """kinds: of tensors that there are: WEIGHT and, of AdamW, MOMENTS. updates: made by the optimizer. counters: of
    DeepSpeed's engine. scaler: of the loss, DeepSpeed's; None of ZeRO 0.
    """

    kinds: list[str] = field(default_factory=list)
    updates: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    scaler: LossScalerBase | None = None


@dataclass
class FullState:
    """The trained weights of a trainee and the state of their optimizer.

    shapes: of each trained weight, by name. tensors: float32 of these shapes, on the CPU, by kind and name.
    """

    shapes: Mapping[str, torch.Size]
    about: About = field(default_factory=About)
    tensors: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _filled: dict[tuple[str, str], int] = field(default_factory=dict)

    def append(self, kind: str, name: str, values: Tensor) -> None:
        """Add the next elements of a tensor, in the order of its storage. Raises ValueError where they do not fit."""
        if name not in self.shapes:
            raise ValueError(f"it has a weight {name}, which the student has not")
        if kind not in self.about.kinds:
            self.about.kinds.append(kind)
        whole = self.tensors.setdefault((kind, name), torch.zeros(self.shapes[name]))
        begin = self._filled.get((kind, name), 0)
        if begin + values.numel() > whole.numel():
            raise ValueError(f"its {name} is larger than the student's, of the shape {tuple(whole.shape)}")
        whole.view(-1)[begin : begin + values.numel()] = values.flatten()
        self._filled[kind, name] = begin + values.numel()

    def note_updates(self, *counts: Mapping[str, Any]) -> None:
        """counts: what the optimizer has of weights or of their groups.

        Apex counts by group, and DeepSpeed's FusedAdam at ZeRO 0 with the last weight of a group alone.
        """
        self.about.updates = max(self.about.updates, *(int(each.get("step", 0)) for each in counts))

    def check(self) -> None:
        """Raise ValueError where something is missing."""
        for kind in {WEIGHT, *self.about.kinds}:
            for name, shape in self.shapes.items():
                found = self._filled.get((kind, name), 0)
                if found != shape.numel():
                    raise ValueError(f"it has {found:,} of {shape.numel():,} elements of {name} ({kind})")


def read_full_state(folder: Path, stage: int, state: FullState) -> None:
    """Gather the state of one trainee from its files in a checkpoint.

    folder: of the trainee's files. stage: the ZeRO stage that wrote them. state: where it goes; its shapes are in the
    order in which the optimizer has the weights.
    Raises ValueError for files that hold more than tensors and plain data, or another state than one of these weights.
    """
    files = CheckpointFiles()
    main = "zero_pp_rank_0_mp_rank_00_model_states.pt" if stage == 3 else "mp_rank_00_model_states.pt"
    try:
        about = files.load(str(folder / main), map_location="cpu")
        state.about.counters = {name: about[name] for name in _COUNTERS}
        if stage == 0:
            _read_undivided(about, state)
        else:
            for rank, path in enumerate(_files_of_ranks(folder, about["dp_world_size"])):
                part = files.load(str(path), map_location="cpu")["optimizer_state_dict"]
                state.about.scaler = part["loss_scaler"]
                pieces = _by_fragments(part, about) if stage < 3 else _by_shares(part, about, rank)
                _add(pieces, state)
        state.check()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, ValueError) else f"not such files as expected: {error!r}"
        raise ValueError(f"{folder} cannot be converted: {reason}") from error


# A piece of a weight: its name, its elements by kind, and what the optimizer has of it beside tensors.
_Pieces = Iterator[tuple[str, dict[str, Tensor], list[Mapping[str, Any]]]]


def _add(pieces: _Pieces, state: FullState) -> None:
    for name, values, counts in pieces:
        for kind, elements in values.items():
            state.append(kind, name, elements)
        state.note_updates(*counts)


def _read_undivided(about: dict[str, Any], state: FullState) -> None:
    """Of ZeRO 0, where one file holds the state of the optimizer by weight."""
    optimizer = about["optimizer"]
    groups = optimizer["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    if len(numbers) != len(state.shapes):
        raise ValueError(f"its optimizer has {len(numbers)} weights, not {len(state.shapes)}")
    for name, number in zip(state.shapes, numbers, strict=True):
        own = optimizer["state"].get(number, {})
        state.append(WEIGHT, name, about["module"][name])
        if "betas" in groups[0]:  # a weight without gradient has no moments yet
            for kind in MOMENTS:
                state.append(kind, name, own.get(kind, torch.zeros(state.shapes[name])))
        state.note_updates(own, *groups)


def _by_fragments(part: dict[str, Any], about: dict[str, Any]) -> _Pieces:
    """Of ZeRO 1 and 2: a group of weights is one flat tensor, of which each rank has a stretch; it says what is where.

    The stretches follow each other in the order of the ranks, and so do the pieces of a weight.
    """
    base = part["base_optimizer_state"]
    if not isinstance(base, dict):
        raise ValueError("it was written with zero_optimization.elastic_checkpoint of the DeepSpeed file")
    whole = part["single_partition_of_fp32_groups"]
    for weights, group, addresses in zip(whole, base["param_groups"], part["param_slice_mappings"], strict=True):
        own = base["state"].get(group["params"][0], {})
        flat = {WEIGHT: weights, **_moments(own, group, about)}
        for name, address in addresses.items():
            stretch = slice(address.start, address.start + address.numel)
            yield name, {kind: tensor[stretch] for kind, tensor in flat.items()}, [own, group]


def _by_shares(part: dict[str, Any], about: dict[str, Any], rank: int) -> _Pieces:
    """Of ZeRO 3: each weight is cut into equal shares, the last one padded; a rank's shares are one flat tensor."""
    ranks, optimizer = about["dp_world_size"], part["optimizer_state_dict"]
    groups = optimizer["param_groups"]
    for number, shapes in enumerate(about["param_shapes"]):
        own = optimizer["state"].get(number, {})
        flat = {WEIGHT: part["fp32_flat_groups"][number], **_moments(own, groups[0], about)}
        begin = 0
        for name, shape in shapes.items():
            elements = torch.Size(shape).numel()
            share = -(-elements // ranks)
            count = min(max(elements - rank * share, 0), share)
            yield name, {kind: tensor[begin : begin + count] for kind, tensor in flat.items()}, [own]
            begin += share


def _moments(own: Mapping[str, Any], group: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Tensor]:
    """own: the optimizer's state of a flat tensor, none before the first step. group: its constants; those of AdamW
    have betas.
    """
    return {kind: own[kind] for kind in MOMENTS} if "betas" in group and about["global_steps"] else {}


def _files_of_ranks(folder: Path, ranks: int) -> list[Path]:
    """The optimizer's files in the order of the ranks. Raises ValueError where there are others than `ranks`."""
    pattern = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt")
    found = {int(match[1]): path for path in folder.iterdir() if (match := pattern.fullmatch(path.name))}
    if sorted(found) != list(range(ranks)):
        raise ValueError(f"it has optimizer files of the ranks {sorted(found)}, not of {ranks}")
    return [found[rank] for rank in range(ranks)]
