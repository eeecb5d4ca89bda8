"""The stages of a command, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from megatinybert.models.masked_lm import has_mlm_head
from megatinybert.models.published import has_classifier
from megatinybert.runtime.dist import World
from megatinybert.tasks.few_steps import few_steps
from megatinybert.tasks.idle_options import idle_options
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.reading.read import read_rows
from megatinybert.tasks.reading.skipped import Skipped
from megatinybert.tasks.rows import encode_rows
from megatinybert.tasks.stage_options import PRODUCTS, has_stage_one
from megatinybert.training.stop import Stopped

_TITLES = {
    "teacher": "the teacher learns the task",
    "mlm": "a masked-LM for the augmentation",
    "augment": "copies of the training rows",
    "one": "the student learns the teacher's layers",
    "two": "the student learns the teacher's answers",
    "eval": "teacher and student are compared",
}
_SAMPLED_ROWS = 2048  # whose length is taken for that of all


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

    def end(self, stage: str, asked: bool) -> None:
        """Raise Stopped where others follow a stage that was asked to stop when none of its steps was left."""
        if asked and stage != self.stages[-1]:
            raise Stopped(f"stopped after stage {stage}, which is done; the same command continues with the next")


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


def doubts_about(action: str, inputs: TaskInputs, stages: Sequence[str], rows: int) -> list[str]:
    """Warnings of options without effect, and of stages of few steps. stages: of the action. rows: to train on."""
    config = inputs.config
    idle = idle_options(config, action, stages, inputs.task.labels is None)
    training = [stage for stage in stages if stage in PRODUCTS and not (inputs.output / PRODUCTS[stage]).is_dir()]
    # The longer the rows, the fewer steps: mostly there are enough, however long they are.
    few = few_steps(config, training, rows, inputs.max_length)
    return [*idle, *(few and few_steps(config, training, rows, _mean_length(inputs)))]


def _mean_length(inputs: TaskInputs) -> float:
    """Of training rows, in tokens."""
    rows = islice(read_rows(inputs.task, inputs.files.train, Skipped()), _SAMPLED_ROWS)
    encoded = encode_rows(rows, inputs.tokenizer, inputs.special, inputs.max_length, inputs.task.labels is None)
    return float(encoded.lengths.mean())
