"""Where a run computes: ranks, ZeRO stage and precision, which may change when it is continued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from megatinybert.runtime.counts import counted

# The facts of it that a checkpoint records.
PLACEMENT = ("world size", "ZeRO stage", "precision")
THREADS = "threads of a rank"  # a fact of checkpoints on a CPU alone, which may differ


@dataclass(frozen=True)
class Placement:
    """ranks: None of a checkpoint of ZeRO 0 by a version that did not record them."""

    ranks: int | None
    stage: int
    precision: str

    def reads(self, there: Placement) -> bool:
        """Whether a run here reads the files of a checkpoint from `there` as they are.

        From ZeRO 1 on each rank has a file of its own part of the optimizer's state; at ZeRO 0 all ranks read one,
        which is of float32 in every precision that there is.
        """
        if self.stage == there.stage == 0:
            return True
        return (there.stage, there.precision, there.ranks) == (self.stage, self.precision, self.ranks)


def placement_of(facts: Mapping[str, Any]) -> Placement:
    """facts: of a run, or recorded by its checkpoint. Raises ValueError where they do not tell it."""
    ranks, stage, precision = (facts.get(name) for name in PLACEMENT)
    if stage not in (0, 1, 2, 3) or not isinstance(precision, str) or (stage > 0 and not isinstance(ranks, int)):
        said = ", ".join(f"{name} {facts.get(name, 'none')}" for name in PLACEMENT)
        raise ValueError(f"the checkpoint does not say where it was written: {said}")
    return Placement(ranks, stage, precision)


def in_words(here: Placement, there: Placement) -> str:
    """Such as "3 ranks, ZeRO 2, from a checkpoint of 2 ranks, ZeRO 1", with the precisions where they differ."""
    precise = here.precision != there.precision
    new, old = (
        ", ".join(
            [
                *([counted(each.ranks, "rank")] if each.ranks else []),
                f"ZeRO {each.stage}",
                *([each.precision] if precise else []),
            ]
        )
        for each in (here, there)
    )
    return f"{new}, from a checkpoint of {old}"


def on_precision(here: Placement, there: Placement) -> str | None:
    """What to tell the person where the precision changes."""
    if here.precision == there.precision:
        return None
    text = f"the checkpoint was trained in {there.precision}, and the run continues in {here.precision}"
    if here.precision == "fp16":
        text += ", its loss scale from the beginning: some of the first steps may be skipped"
    return f"{text}. What the optimizer updates is float32 in both"


def on_threads(recorded: Mapping[str, Any], threads: int) -> str | None:
    """What to tell the person where a rank has other threads than in the checkpoint's run, which sums in their order.

    recorded: the facts of the checkpoint; an older one has none of it.
    """
    before = recorded.get(THREADS, threads)
    if before == threads:
        return None
    return f"{counted(before, 'thread')} of a rank before, {threads:,} now: results agree to rounding, not bit for bit"
