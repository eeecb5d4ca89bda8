"""The example in the model card of a task's student; tests/programs/test_task_actions.py looks at the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from megatinybert.tasks.card import task_card
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.table import TASKS
from tests.helpers.toys import bert_config


def inputs(task: str, teacher: Path, tokens: Sequence[int] = (0,)) -> Any:
    config = SimpleNamespace(
        teacher=SimpleNamespace(model=str(teacher)),
        student=SimpleNamespace(init="solved"),
        augment=SimpleNamespace(copies=0),
    )
    files = TaskFiles(TASKS[task], Path("train.tsv"), {"dev": Path("dev.tsv")}, {})
    student, teacher_shape = bert_config(2, 12), bert_config(4, 24)
    return SimpleNamespace(
        config=config,
        output=teacher,
        task=files.task,
        files=files,
        student=student,
        teacher=teacher_shape,
        max_length=64,
        tokenizer=Tokenizer(models.WordLevel(dict(zip("a我们你", range(4), strict=True)))),
        dev={"dev": SimpleNamespace(tokens=np.array(tokens))},
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


def test_the_language_is_that_of_chinese_rows_else_that_of_the_teacher(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlanguage: [en, zh]\n---\n\n# A teacher\n")
    for tokens, language in (([1, 2, 3, 0], "language: zh\n"), ([0, 0, 1], "language:\n- en\n- zh\n")):
        assert language in task_card(inputs("sst-2", tmp_path, tokens), None)
    assert "一个句子。" in task_card(inputs("sst-2", tmp_path, [1, 2]), None)
