"""The stages of a command, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatinybert.models.masked_lm import has_mlm_head
from megatinybert.models.published import has_classifier
from megatinybert.runtime.dist import World
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.stage_options import has_stage_one

_TITLES = {
    "teacher": "the teacher learns the task",
    "mlm": "a masked-LM for the augmentation",
    "augment": "copies of the training rows",
    "one": "the student learns the teacher's layers",
    "two": "the student learns the teacher's answers",
    "eval": "teacher and student are compared",
}


@dataclass(frozen=True)
class Plan:
    """Of a command. stages: in their order, without those that are left out. on_scores: what has to be said of the rows
    beside scores.
    """

    stages: Sequence[str]
    on_scores: Sequence[str]

    def begin(self, stage: str, world: World) -> None:
        """Say which stage of how many begins, where it is not the only one."""
        if len(self.stages) > 1 and stage in self.stages:
            world.say(f"stage {self.stages.index(stage) + 1} of {len(self.stages)} ({stage}): {_TITLES[stage]}")


def stages_of(action: str, inputs: TaskInputs) -> list[str]:
    """The stages of an action that are not left out; some of them may be done already.

    Raises ValueError for a model folder without weights.
    """
    config = inputs.config
    if action == "teacher" and has_classifier(config.teacher.model):
        return []
    if action == "one" and not has_stage_one(config):
        return []
    if action == "augment":
        if config.augment.copies == 0:
            return []
        has_model = config.augment.model is not None or has_mlm_head(config.teacher.model)
        return ["augment"] if has_model else ["mlm", "augment"]
    return [action]
