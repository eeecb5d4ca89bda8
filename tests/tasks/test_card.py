"""The example in the model card of a task's student; tests/programs/test_task_actions.py looks at the rest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from megatinybert.tasks.card import task_card
from megatinybert.tasks.files import TaskFiles
from megatinybert.tasks.table import TASKS
from tests.helpers.toys import bert_config


def inputs(task: str, teacher: Path) -> Any:
    config = SimpleNamespace(
        teacher=SimpleNamespace(model=str(teacher)),
        student=SimpleNamespace(init="solved"),
        augment=SimpleNamespace(copies=0),
    )
    files = TaskFiles(TASKS[task], Path("train.tsv"), {"dev": Path("dev.tsv")}, {})
    student, teacher_shape = bert_config(2, 12), bert_config(4, 24)
    return SimpleNamespace(
        config=config, task=files.task, files=files, student=student, teacher=teacher_shape, max_length=64
    )


@pytest.mark.parametrize(
    ("language", "task", "example"),
    [
        ("zh", "sst-2", '"一个句子。"'),
        ("zh", "qnli", '{"text": "一个句子。", "text_pair": "另一个句子。"}'),
        ("en", "qnli", '{"text": "A sentence.", "text_pair": "Another one."}'),
    ],
)
def test_the_example_is_in_the_teachers_language(tmp_path: Path, language: str, task: str, example: str) -> None:
    (tmp_path / "README.md").write_text(f"---\nlanguage: {language}\n---\n\n# A teacher\n")
    assert f"print(model({example}, truncation=True, max_length=64))" in task_card(inputs(task, tmp_path), None)
