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


def write_news(singles: Path, folder: Path) -> Path:
    """Rows of `write_singles` with columns as TNEWS has them: numbers of the classes, and their names beside them."""
    folder.mkdir(parents=True)
    for name in ("train", "eval"):
        lines = (singles / f"{name}.txt").read_text().splitlines()
        rows = [line.rsplit("\t", 1) for line in lines]
        numbers = {"bad": "101", "fair": "102", "good": "103"}
        text = "".join(f"{text}\t{numbers[label]}\t{label}\n" for text, label in rows)
        (folder / f"{name}.tsv").write_text("sentence\tlabel\tlabel_desc\n" + text)
    return folder


def test_classes_that_are_called_otherwise_are_told_by_the_option_that_was_left_out(
    task_inputs: Path, world: World, tmp_path: Path
) -> None:
    """The rows are the same numbers, so the stages would be done already, and the advice be to rename outputs."""
    data, output = write_news(task_inputs / "singles", tmp_path / "news"), tmp_path / "run"
    quick: dict[str, object] = {f"{stage}.max_steps": 2 for stage in ("finetune", "one", "two")}
    common = {"task.data_dir": data, "augment.copies": 0, "task.force": True, **quick}
    named = options(task_inputs, "singles", output, **common, **{"task.label_column": "label_desc"})
    forgotten = options(task_inputs, "singles", output, **common)
    run("all", named, world)
    for action, model in (("all", "teacher"), ("teacher", "teacher"), ("predict", "student"), ("eval", "teacher")):
        message = refusal(action, forgotten, world)
        assert message.startswith(f"{output / model} was made otherwise:\n"), action
        assert "  --task.label_column: label_desc there, none now\n" in message
        assert "  classes: bad fair good there, 101 102 103 now\n" in message
        assert ".labels 101" not in message and "choose another --run.output_dir" in message
    run("all", named, world)  # passed over


def test_another_batch_is_told_once_by_the_option_of_its_stage(
    done_task: Path, task_inputs: Path, world: World, tmp_path: Path
) -> None:
    output = shutil.copytree(done_task, tmp_path / "task")
    message = refusal("two", options(task_inputs, "singles", output, **{"two.global_batch": 8}), world)
    assert "  --two.global_batch: 16 there, 8 now\n" in message and message.count("global_batch") == 1
