"""The door of task distillation looks at paths and files before anything heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.load import ConfigError
from megatinybert.task import read_arguments
from tests.helpers.messages import assert_says
from tests.helpers.toys import REPOSITORY, TASK_WITHOUT_TORCH, environment


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Of a task whose development file has no label."""
    (tmp_path / "train.tsv").write_text("text\tlabel\nfine\t1\ndull\t0\n")
    (tmp_path / "eval.tsv").write_text("text\nfine\n")
    given = {
        "task.name": "custom",
        "task.data_dir": tmp_path,
        "teacher.model": tmp_path / "no" / "teacher",
        "student.config": "4L-312",
    }
    return ["all", *(word for name, value in given.items() for word in (f"--{name}", str(value)))]


def test_files_are_looked_at_with_all_else(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_arguments([*options, "--run.seed", "-1"], look=True)
    assert_says(str(caught.value), "3 problems", tmp_path / "eval.tsv", "--teacher.model", "--run.seed -1")
    assert read_arguments(options)[1].task.name == "custom"  # where nobody asks for a look
    with pytest.raises(ConfigError) as caught:
        read_arguments([*options, "--task.kind", "some"], look=True)
    assert_says(str(caught.value), "2 problems", "--task.kind some", "--teacher.model")


def test_a_misspelt_column_option_has_no_consequence(tmp_path: Path, options: list[str]) -> None:
    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").write_text("review_text\tlabel\nfine\t1\ndull\t0\n")
    with pytest.raises(ConfigError) as caught:
        read_arguments([*options, "--task.text_a_colunm", "review_text"], look=True)
    assert_says(str(caught.value), "2 problems", "did you mean --task.text_a_column?", "--teacher.model")


def test_torch_is_not_imported_for_it(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-c", TASK_WITHOUT_TORCH, *options]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "AssertionError" not in done.stderr
    assert_says(done.stderr, "2 problems", f"{tmp_path / 'eval.tsv'}: its header has the columns text, but there")


def test_files_are_not_looked_at_where_a_misspelt_option_may_mean_several(options: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read_arguments([*options, "--task.label", "sentiment"], look=True)
    assert_says(str(caught.value), "2 problems", "--task.label sentiment", "_column", "--teacher.model")
    with pytest.raises(ConfigError, match="3 problems"):
        read_arguments([*options, "--run.sed", "1"], look=True)
