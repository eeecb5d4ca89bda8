"""What --config names: where that is no recipe, what was meant is named by a path that works."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.general import GENERAL
from megatinybert.config.load import ConfigError, load_config, load_options
from megatinybert.config.program import Program
from megatinybert.config.shards import SHARDS
from megatinybert.config.shipped import RECIPES, REPOSITORY
from megatinybert.config.task import TASK


def told(name: object, program: Program = GENERAL) -> str:
    """What is said of --config NAME."""
    with pytest.raises(ConfigError) as caught:
        load_options(["--config", str(name)], program)
    (problem,) = caught.value.problems
    return problem.removeprefix(f"--config {name} (command line): ")


@pytest.mark.parametrize(
    ("program", "name", "meant"),
    [
        *((GENERAL, f"{name}{end}", "tinybert-4l") for name in ("tinybert-4l", "tinybert-4L") for end in ("", ".yaml")),
        (GENERAL, "tinybert4l", "tinybert-4l"),
        (GENERAL, "TinyBERT-6L.yml", "tinybert-6l"),
        (GENERAL, "recipes/family.yaml", "family"),
        (TASK, "task-paper", "task-paper"),
        (TASK, "task_paper.yaml", "task-paper"),
    ],
)
def test_the_name_of_a_shipped_recipe(
    program: Program, name: str, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert told(name, program) == f"no such file; did you mean launch/recipes/{meant}.yaml?"
    monkeypatch.chdir(tmp_path)
    assert told(name, program) == f"no such file; did you mean {RECIPES / meant}.yaml?"


def test_a_name_like_no_recipe_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert told("xyzzy") == told("none/xyzzy.yaml") == "no such file; shipped recipes are in launch/recipes"
    of_general = "launch/recipes/tinybert-4l.yaml is a recipe of launch/general.sh"
    assert told("tinybert-4l", TASK) == f"no such file; {of_general}"
    assert told("task-paper") == "no such file; launch/recipes/task-paper.yaml is a recipe of launch/task.sh"
    assert told("tinybert-4l", SHARDS) == "no such file"  # which reads none of them


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("runs/firts/config.yaml", "runs/first/config.yaml"),
        ("runs/firts", "runs/first/config.yaml"),
        ("rnus/first/confg.yaml", "runs/first/config.yaml"),
        ("mine/tinybert-4l.yaml", "mine/tinybert-4k.yaml"),
        ("familie", "families.yml"),
        ("frist", "first/config.yaml"),
    ],
)
def test_a_recipe_nearby(name: str, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (
        "runs/first/config.yaml",
        "mine/tinybert-4k.yaml",
        "families.yml",
        "families.txt",
        "first/config.yaml",
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert told(name) == f"no such file; did you mean {meant}?"


def test_a_folder_is_told_with_the_recipes_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert told("launch/recipes").startswith(
        "a folder; name one of its recipes, such as launch/recipes/chinese-4l.yaml (others: family.yaml, "
    )
    assert told("launch/recipes", TASK) == "a folder; its recipe is launch/recipes/task-paper.yaml"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert told("runs") == f"a folder without a recipe of this program; shipped recipes are in {RECIPES}"
    for number in range(12):
        run = tmp_path / "runs" / f"run-{number:02d}"
        run.mkdir()
        (run / "config.yaml").touch()
        if number == 0:
            assert told("runs") == "a folder; its recipe is runs/run-00/config.yaml"
    others = ", ".join(f"run-{number:02d}/config.yaml" for number in range(1, 10))
    assert told("runs") == f"a folder; name one of its recipes, such as runs/run-00/config.yaml (others: {others}, ...)"


def test_the_output_folder_of_a_run_is_told_to_hold_its_recipe(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.touch()
    assert told(tmp_path) == f"the output folder of a run; its recipe is {file}"
    file.write_text("task: {name: rte}")
    assert told(tmp_path) == f"the output folder of a run of launch/task.sh; its recipe is {file}"


def test_a_path_of_a_recipe_is_told_with_it(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {shards: ./there}\nteacher: {model: /no/teacher}\nrun: {seed: 1}")
    lines = ["--data.shards there: absent", "--data.shards there-too: absent", "--run.seed is no path", "absent"]

    def problems(*more: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_config(["--config", str(recipe), *more], lambda _: list(lines))
        return caught.value.problems

    assert problems() == [f"--data.shards there (recipe {recipe}): absent", *lines[1:]]
    assert problems("--data.shards", "there") == lines
