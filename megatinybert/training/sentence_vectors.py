"""A student's folder as a model of sentence-transformers: the mean of its states, then its projection.

What belongs to that stands in files and folders of its own beside the student's, which Transformers does not read. Read
by sentence-transformers 3 to 6.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.runtime.counts import counted
from megatinybert.tracking.measurements import PROBE, PROJECTED

FEW_WINDOWS = 32  # the fewest that tell a difference of 0.1 of the two probes; what there is to tell is 0.1 to 0.2
# The standard deviation of that difference times the root of the windows: 0.070 on 16 that were drawn anew
# (benchmarks/probe.py, docs/general.md); the figures of more windows give a little less.
_DEVIATION = 0.28
_OF_USE = 0.1  # a probe below it: similar texts are hardly found
_MORE = 16  # times as many windows: what even these would not tell apart is alike

_MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
_DENSE = Path("2_Dense") / "model.safetensors"


@dataclass(frozen=True)
class Projection:
    """The map from the student's width D to the teacher's E that training learnt, in float32."""

    weight_ED: Tensor
    bias_E: Tensor

    def __call__(self, vectors_ND: Tensor) -> Tensor:
        """(N, D) -> (N, E). It is linear, so the mean of projected states is the projected mean."""
        return vectors_ND @ self.weight_ED.T + self.bias_E


def write_modules(folder: Path, projection: Projection, length: int) -> None:
    """Write beside the student in `folder` what makes it a model of sentence-transformers. length: tokens, at most."""
    wide, narrow = projection.weight_ED.shape
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(_MODULES.items())
    ]
    pooling = {"word_embedding_dimension": narrow, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    dense = {
        "in_features": narrow,
        "out_features": wide,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    for name, content in {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": length, "do_lower_case": False},  # the tokenizer's affair
        "1_Pooling/config.json": pooling,
        "2_Dense/config.json": dense,
    }.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    weights = {"linear.weight": projection.weight_ED.contiguous(), "linear.bias": projection.bias_E.contiguous()}
    save_file(weights, folder / _DENSE, metadata={"format": "pt"})


def read_projection(student: Path) -> Projection | None:
    """The projection that `write_modules` wrote into a student's folder; None where it has none."""
    if not (student / _DENSE).is_file():
        return None
    weights = load_file(student / _DENSE)
    return Projection(weights["linear.weight"], weights["linear.bias"])


def advice_of(
    first: Mapping[str, float],
    last: Mapping[str, float],
    layer_map: str | Sequence[int],
    layers: int,
    of: int,
    windows: int | None,
    asked: int | None,
) -> str | None:
    """`which_to_use` of a student with so many layers. first, last: its measurements; of: the teacher's layers."""
    own, projected = ((first[tag], last[tag]) if tag in first and tag in last else None for tag in (PROBE, PROJECTED))
    return which_to_use(own, projected, resolve_layer_map(layer_map, layers, of)[-1] == of - 1, windows, asked)


def by_chance(windows: int | None) -> float:
    """How far two probes of a student on so many windows may differ by chance: two standard deviations; 0 where it is
    not known how many.
    """
    return 2 * _DEVIATION / math.sqrt(windows) if windows else 0.0


def more_windows(windows: int, asked: int | None, enough: float = math.inf) -> str:
    """What gives more held-out windows than there are. asked: for how many --data.held_out_windows asks. enough: how
    many will do, if fewer.
    """
    if asked is None or windows == 0:
        return "give more text"
    if windows >= asked:
        return f"raise --data.held_out_windows above {asked}"
    more = f"give {min(asked, enough) / windows:.2g} times as much text"
    return more if enough < asked else f"{more}, for the {asked} of --data.held_out_windows"


def which_to_use(
    own: tuple[float, float] | None,
    projected: tuple[float, float] | None,
    to_last_layer: bool,
    windows: int | None,
    asked: int | None,
) -> str | None:
    """For which uses the student's states are better, and for which those after its projection; None without both.

    own, projected: the two probes, at the first step and at the last. to_last_layer: whether the student's last layer
    learns from the teacher's last. windows: that the probes were measured on; None where that is not known. asked: as
    of `more_windows`.
    """
    if own is None or projected is None:
        return None
    better = "through the projection" if projected[1] >= own[1] else "of its own states, without projection,"
    of = f"; {counted(windows, 'window')}" if windows else ""
    measured = f"probe {projected[1]:.3f} through the projection, {own[1]:.3f} without{of}"
    lines = [
        "As first weights for fine-tuning, take the student itself (AutoModel).",
        f"As sentence vectors, those {better} are better ({measured}).",
        "SentenceTransformer gives those through the projection, AutoModel its own states.",
    ]
    if math.isnan(projected[1]) or math.isnan(own[1]):
        lines[1] = "Whether its sentence vectors are of use cannot be said: a probe is not a number."
    elif max(own[1], projected[1]) < _OF_USE:
        lines[1] = f"Neither kind of sentence vectors is of use yet ({measured}): train for longer, on more text."
    else:
        chance = by_chance(windows)
        gap = abs(projected[1] - own[1])
        if windows and gap <= chance:
            close = gap * math.sqrt(_MORE) < chance
            what = "So close, either kind will do" if close else f"To tell them apart, {more_windows(windows, asked)}"
            lines[1] = (
                f"Which sentence vectors are better cannot be said ({measured}): on so many windows two probes differ "
                f"by up to {chance:.2g} by chance. {what}."
            )
        if max(own[0], projected[0]) - max(own[1], projected[1]) >= chance:
            lines.append(
                "Neither finds similar texts better than the first weights did "
                f"({max(own[0], projected[0]):.3f}): train for longer, on more text."
            )
    if to_last_layer:
        lines.append("An index of the teacher's vectors can be searched through the projection only.")
    return "\n".join(lines)
