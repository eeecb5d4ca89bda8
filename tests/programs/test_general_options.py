"""A run that would be continued by other options is refused before PyTorch is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.load import load_config
from megatinybert.general import read_arguments
from megatinybert.programs.general_options import decided_by_options
from tests.helpers.messages import assert_says

CODE = (
    "import sys; from megatinybert.general import read_arguments\n"
    "try: read_arguments(sys.argv[1:], look=True)\n"
    "except ValueError as error: print(error)\n"
    "print('torch' in sys.modules, 'transformers' in sys.modules)"
)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a run that has a checkpoint."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "config.json").write_text("{}")
    (tmp_path / "a.txt").write_text("one text\n")
    command = [*("--teacher.model", "./teacher", "--data.text", "a.txt", "--run.output_dir", "run")]
    checkpoint = Path("run/checkpoints/step-00000005")
    checkpoint.mkdir(parents=True)
    facts = decided_by_options(load_config(command))
    (checkpoint / "state.json").write_text(json.dumps({"step": 5, "facts": facts, "files": {}}))
    return command


def test_other_options_are_told_at_once_and_without_torch(begun: list[str]) -> None:
    others = ["--data.sequence_length=64", "--student.config=3L-312", "--run.seed=3", "--run.global_batch=8"]
    said = subprocess.run([sys.executable, "-c", CODE, *begun, *others], capture_output=True, text=True, check=True)
    *lines, loaded = said.stdout.splitlines()
    assert loaded == "False False"
    assert lines[:-1] == [
        "run/checkpoints/step-00000005 was written by another kind of run:",
        "  data.sequence_length: 128 there, 64 now",
        "  run.global_batch: none there, 8 now",
        "  run.seed: 0 there, 3 now",
        "  student layers, width, heads, intermediate (by --student.config): [4, 312, 12, 1200] there, "
        "[3, 312, 12, 1200] now",
    ]
    assert_says(lines[-1], "set these back to continue it", "choose another --run.output_dir")


@pytest.mark.parametrize("more", [[], ["--run.output_dir", "new"]])
def test_the_same_run_and_a_new_one_pass(begun: list[str], more: list[str]) -> None:
    others = ["--run.seed", "3"] if more else []
    assert read_arguments([*begun, *more, *others], look=True).run.seed == (3 if others else 0)
