"""Options that change nothing beside others are warned of."""

from __future__ import annotations

import pytest

from megatinybert.config.load import load_options
from megatinybert.config.task import TASK
from megatinybert.tasks.idle_options import idle_options

GIVEN = ["--task.name", "custom", "--task.data_dir", "none", "--teacher.model", "none", "--student.config", "4L-312"]
ALL = ("teacher", "one", "two", "eval")


def told(action: str, stages: tuple[str, ...], *given: str, is_scored: bool = False) -> list[str]:
    return idle_options(load_options([*GIVEN, *given], TASK), action, stages, is_scored)


@pytest.mark.parametrize(
    ("action", "stages", "given", "line"),
    [
        ("all", ("teacher", "two", "eval"), "--one.epochs 0 --one.learning_rate 1e-3 --objective.hidden_weight 2",
         "--one.learning_rate, --objective.hidden_weight: no effect without stage one (--one.epochs 0)"),
        ("all", ALL, "--augment.candidates 5 --mlm.epochs 2",
         "--augment.candidates, --mlm.epochs: no effect without --augment.copies"),
        ("augment", ("augment",), "--augment.copies 2 --augment.model some --mlm.train head",
         "--mlm.train: no effect as the model that proposes words has a masked-LM head"),
        ("all", ("one", "two", "eval"), "--finetune.max_steps 9",
         "--finetune.max_steps: no effect as --teacher.model is fine-tuned already"),
        ("all", ALL, "--predict.input new.txt", "--predict.input: no effect on the action all"),
    ],
)  # fmt: skip
def test_each_is_told_with_the_reason(action: str, stages: tuple[str, ...], given: str, line: str) -> None:
    assert told(action, stages, *given.split()) == [line]


def test_temperature_is_of_classes() -> None:
    given = ("--two.temperature", "2", "--two.hard_label_weight", "1")
    assert told("two", ("two",), *given) == []
    assert told("two", ("two",), *given, is_scored=True) == ["--two.temperature: no effect where labels are scores"]


def test_what_counts_or_is_for_another_command_is_not_told() -> None:
    assert told("all", ALL, "--one.epochs", "2", "--one.learning_rate", "1e-3", "--objective.hidden_weight", "2") == []
    assert told("all", ("teacher", "two", "eval"), "--one.epochs", "0", "--objective.layer_map", "top") == []
    assert told("two", ("two",), "--one.epochs", "0", "--one.learning_rate", "1e-3", "--augment.candidates", "5") == []
    assert told("predict", (), "--predict.input", "new.txt", "--finetune.epochs", "2") == []
