"""The recipe in a task's output folder, and refusals that look at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from megatinybert.runtime.dist import World
from megatinybert.task import read_arguments
from tests.helpers.task_toys import options, run


def refusal(action: str, given: list[str], world: World) -> str:
    with pytest.raises(ValueError) as caught:
        run(action, given, world)
    return str(caught.value)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_refused_command_leaves_the_recipe_of_the_one_that_was_not(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    """Also one that is refused after stages that are done already; its options are recorded where a stage begins."""
    output = shutil.copytree(done_task, tmp_path / "task")
    recipe = output / "config.yaml"
    other = tmp_path / "other" / "singles"
    shutil.copytree(task_inputs / "singles", other)
    (other / "train.txt").write_text("bamo\tbad\nberu\tgood\n")
    before = recipe.read_bytes()
    refused: list[tuple[str, dict[str, object]]] = [
        ("all", {"two.temperature": 2}),
        ("predict", {"predict.input": task_inputs / "singles" / "gone.txt", "task.max_length": 16}),
        ("eval", {"task.data_dir": other}),
    ]
    for action, changed in refused:
        refusal(action, options(task_inputs, "singles", output, **changed), world)
        assert recipe.read_bytes() == before, action
    shutil.rmtree(output / "student")
    shutil.rmtree(output / "stages" / "two")
    changed = {"two.temperature": 2, "two.max_steps": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("megatinybert.training.run.fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("two", options(task_inputs, "singles", output, **changed), world)
    written = read_arguments(["two", "--config", str(recipe)])[1]
    assert written == read_arguments(["two", *options(task_inputs, "singles", output, **changed)])[1]
