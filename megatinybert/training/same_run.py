"""Whether a run is the one whose facts a checkpoint or a model has recorded. No torch is imported here."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from megatinybert.config.schema import MADE_WEIGHTS, OpenRunConfig, StudentConfig
from megatinybert.runtime.differences import refuse_differences
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.checkpoints.which import find_checkpoint
from megatinybert.training.other_text import FILES, NAMED, REMEDY, told_by_files, with_other_text

SHAPE = "student layers, width, heads, intermediate"  # the fact of these
# Facts that older checkpoints do not have. What is continued has its first weights behind it.
_SINCE = (
    *("student.init", "student.solve_tokens"),
    *("corpus checksum", "teacher checksum", "frozen weights checksum", "first weights checksum", NAMED, FILES),
)


# The options that decide facts which are not called as these are. section: of the options of a training stage.
_OPTIONS = {
    **dict.fromkeys(("corpus", "corpus checksum"), "--data.text, --data.shards or --data.mixture"),
    **dict.fromkeys(("teacher", "teacher checksum"), "--teacher.model"),
    SHAPE: "--student.config",
    "rows": "--task.data_dir, --task.max_length and --augment",
    "development rows": "--task.data_dir and --task.max_length",
    "student dropout": "--student.hidden_dropout and --student.attention_dropout",
    "steps": "--{section}.max_steps or --{section}.epochs",
    "steps between measurements": "--run.held_out_interval",
}
# Facts that differ with any of others.
_FOLLOWERS = {
    ("first weights", "first weights checksum"): (SHAPE, "run.seed"),
    ("steps between measurements",): ("steps", "rows", "development rows"),
}


def deciding_options(section: str) -> dict[str, str]:
    """By fact, for refusals."""
    return {fact: options.format(section=section) for fact, options in _OPTIONS.items()}


def facts_of_first_weights(student: StudentConfig) -> dict[str, Any]:
    """How they are made; {} where a model is named, whose weights are told apart as such."""
    made = {"student.init": student.init} if student.init in MADE_WEIGHTS else {}
    return {**made, **({"student.solve_tokens": student.solve_tokens} if student.init == "solved" else {})}


def known_to(recorded: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `facts` that the version which recorded others knew."""
    return {name: value for name, value in facts.items() if name in recorded or name not in _SINCE}


def without_followers(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of two runs, without those that differ because others do, and which nobody can set back: the first
    weights, with the student's shape or the seed; when a stage is measured, with its steps.
    """
    left_out = [
        follower
        for followers, leaders in _FOLLOWERS.items()
        if any(there.get(name) != here.get(name) for name in leaders)
        for follower in followers
    ]
    before, now = ({name: fact for name, fact in facts.items() if name not in left_out} for facts in (there, here))
    return before, now


def check_facts(
    path: Path,
    recorded: Mapping[str, Any],
    facts: Mapping[str, Any],
    free: Collection[str] = (),
    options: Mapping[str, str] | None = None,
) -> None:
    """Raise ValueError listing where this run differs from the one that wrote the checkpoint `path`.

    recorded: that one's facts. free: names of facts that may differ. options: as of `refuse_differences`.
    """
    there, here = ({name: fact for name, fact in each.items() if name not in free} for each in (recorded, facts))
    other_text = there.get("corpus checksum") != here.get("corpus checksum")
    for_people = dict.fromkeys((NAMED, FILES))
    if {**there, **for_people} != {**here, **for_people}:
        told = told_by_files(*without_followers(there, here), other_text)
        remedy = with_other_text(path) if other_text else REMEDY
        refuse_differences(f"{path} was written by another kind of run", *told, remedy, options=options)


def check_options(run: OpenRunConfig, facts: Mapping[str, Any], section: str = "run") -> None:
    """Raise ValueError where the checkpoint that a run would continue from was written by other options.

    facts: those that options alone decide, so that nothing has to be opened for it; `starting_point` compares the rest.
    section: of a training stage's own options.
    """
    found = find_checkpoint(run, checksums=False)[0] if run.resume != "never" else None
    if found:
        check_recorded(found, checkpoint.read_state(found)[1], facts, section)


def check_recorded(found: Path, recorded: Mapping[str, Any], facts: Mapping[str, Any], section: str = "run") -> None:
    """The same of a checkpoint whose facts have been read."""
    now = json.loads(json.dumps(known_to(recorded, facts)))
    check_facts(found, recorded, {**recorded, **now}, options=deciding_options(section))
