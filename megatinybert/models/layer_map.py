"""Which teacher layer each student layer learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from megatinybert.config.schema import ConfigError
from megatinybert.config.transfer import TransferConfig
from megatinybert.runtime.counts import counted


class Depth(Protocol):
    """What is compared of two models' shapes here, by Transformers' names."""

    num_hidden_layers: int
    num_attention_heads: int

    @property
    def hidden_size(self) -> int | None: ...
    @property
    def vocab_size(self) -> int | None: ...


def fitting_layers(config: TransferConfig, student: Depth, teacher: Depth) -> list[int]:
    """The teacher layer of each student layer. Raises ConfigError where layers or heads of the two do not fit."""
    problems, layer_map = [], []
    try:
        layer_map = resolve_layer_map(config.layer_map, student.num_hidden_layers, teacher.num_hidden_layers)
    except ValueError as error:
        problems.append(str(error))
    if config.attention_weight and student.num_attention_heads != teacher.num_attention_heads:
        heads, width, tokens = teacher.num_attention_heads, student.hidden_size, teacher.vocab_size
        said = [f"num_attention_heads {heads}"]
        said += [f"hidden_size {widths_for(heads, width)}"] if width and width % heads else []
        said += [f"vocab_size {tokens}"] if tokens else []
        problems.append(
            f"attention scores are compared head by head, but the student has {student.num_attention_heads} heads "
            f"and the teacher {heads}: give --student.config a folder whose config.json says {' and '.join(said)} "
            "(docs/own-student.md has an example), or set --objective.attention_weight 0"
        )
    if problems:
        raise ConfigError.of(problems)
    return layer_map


def widths_for(heads: int, width: int) -> str:
    """The multiples of `heads` next to a width that is none, such as "312 or 324"."""
    below = width - width % heads
    return f"{below} or {below + heads}" if below else str(heads)


def resolve_layer_map(layer_map: str | Sequence[int], student_layers: int, teacher_layers: int) -> list[int]:
    """Return the 0-based teacher layer of every student layer, ascending.

    "uniform": student layer i learns from teacher layer (i + 1) N / M - 1 (TinyBERT, section 3.1, with N teacher and M
    student layers), rounded where M does not divide N, so that the last layer learns from the last; "top": the last M;
    "bottom": the first M; or the list itself.

    Raises ValueError where the map does not fit.
    """
    count, total = student_layers, teacher_layers
    option = f"--objective.layer_map {layer_map}"
    if count > total:
        raise ValueError(
            f"the student has {counted(count, 'layer')} and the teacher {total}: choose a student with at most {total}"
        )
    if layer_map == "top":
        return list(range(total - count, total))
    if layer_map == "bottom":
        return list(range(count))
    if layer_map == "uniform":
        return [round((i + 1) * total / count) - 1 for i in range(count)]
    layers = list(layer_map) if not isinstance(layer_map, str) else []
    if len(layers) != count:
        raise ValueError(f"{option} names {len(layers)} teacher layers, but the student has {count}: one for each")
    if layers != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= total:
        raise ValueError(f"{option} must rise strictly within 0 .. {total - 1}, the teacher's layers counted from 0")
    return layers


def layers_in_words(layer_map: str | Sequence[int], layers: Sequence[int], teacher_layers: int) -> str:
    """Which layers learn from which, for people. layers: of `layer_map`, resolved."""
    count = len(layers)
    learn = f"student layers 0 to {count - 1} learn from layers" if count > 1 else "student layer 0 learns from layer"
    text = f"{learn} {', '.join(map(str, layers))} of the teacher's {teacher_layers} (counted from 0)"
    if layer_map == "uniform" and teacher_layers % count:
        maps = (resolve_layer_map(name, count, teacher_layers) for name in ("top", "bottom"))
        words = " ".join(map(str, next(other for other in maps if other != list(layers))))
        text += (
            f", the nearest to uniform, as {teacher_layers} is no multiple of {count}; others: "
            f"--objective.layer_map with a list such as {words}"
        )
    return text
