"""The name that was probably meant by one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

# What other programs call our options, by the last part of their names.
_ELSEWHERE = {
    **dict.fromkeys(("batch_size", "train_batch_size", "batch"), "global_batch"),
    **dict.fromkeys(
        ("micro_batch_size", "per_device_train_batch_size", "train_micro_batch_size_per_gpu"), "micro_batch"
    ),
    **dict.fromkeys(("lr", "rate"), "learning_rate"),
    **dict.fromkeys(("num_epochs", "num_train_epochs"), "epochs"),
    **dict.fromkeys(("steps", "num_steps", "train_steps"), "max_steps"),
    **dict.fromkeys(("max_seq_length", "max_length", "seq_length", "length"), "sequence_length"),
    **dict.fromkeys(("save_steps", "save_every"), "save_interval"),
    **dict.fromkeys(("logging_steps", "log_every"), "log_interval"),
}


def likely_options(name: str, options: Iterable[str]) -> Sequence[str]:
    """The options that `name` was probably meant to be: all that have its last part, unless one of their sections is
    like its own; else the nearest, and those of its section whose names it begins.
    """
    options = list(options)
    section, dot, last = name.rpartition(".")
    last = last.replace("-", "_")
    for part in (last, _ELSEWHERE.get(last, last)):
        alike = [option for option in options if option.endswith(f".{part}")]
        if len(alike) > 1 and not closest(alike, lambda option: (option.rpartition(".")[0], section)):
            return alike
        if alike:
            break
    meant = nearest(section + dot + part, options)
    begun = [option for option in options if section and option.startswith(f"{section}.{last}_")]
    return list(dict.fromkeys([*([meant] if meant else []), *begun]))


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be: one with the same last part, else the closest; of names that
    are equally close the first. That two options are of one section makes them no closer.
    """
    valid = list(valid)
    last = name.rsplit(".", 1)[-1].replace("-", "_")
    same_last_part = [candidate for candidate in valid if candidate.rsplit(".", 1)[-1] == last]

    def own(candidate: str) -> tuple[str, str]:
        section, dot, key = candidate.rpartition(".")
        return (key, name.removeprefix(section + dot)) if name.startswith(section + dot) else (candidate, name)

    if same_last_part:
        return closest(same_last_part, own, cutoff=0.0)
    return closest(valid, own) or only_alike(valid, own)


def closest(names: Iterable[str], compared: Callable[[str], tuple[str, str]], cutoff: float = 0.6) -> str | None:
    """The first of the names that are most like what was given; None where none is alike.

    compared: what of a name is compared with what. cutoff: the least share of characters in common.
    """

    def closeness(name: str) -> float:
        return difflib.SequenceMatcher(None, *compared(name)).ratio()

    best = max(names, key=closeness, default=None)
    return best if best is not None and closeness(best) >= cutoff else None


def only_alike(names: Iterable[str], compared: Callable[[str], tuple[str, str]]) -> str | None:
    """The one name of two characters, as many Chinese ones are, that has one of two in its place; None where several
    have. compared: as in `closest`, for which that is too little in common.
    """
    pairs = ((name, *compared(name)) for name in names)
    alike = [name for name, a, b in pairs if len(a) == len(b) == 2 and (a[0] == b[0]) != (a[1] == b[1])]
    return alike[0] if len(alike) == 1 else None
