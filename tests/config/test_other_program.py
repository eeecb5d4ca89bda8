"""Recipes and options of the other program are told as such, each with what is here instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.augment import AUGMENT
from megatinybert.config.general import GENERAL, GeneralConfig
from megatinybert.config.help import options_of
from megatinybert.config.load import ConfigError, load_config, load_options
from megatinybert.config.other_program import OtherProgram, no_such_option, own_sections
from megatinybert.config.schema import ProgramConfig
from megatinybert.config.shipped import RECIPES
from megatinybert.config.task import TASK, TaskConfig

REQUIRED = ["--teacher.model", "teacher", "--data.shards", "shards"]
OF_TASK, OF_GENERAL = (f"an option of {work} distillation alone (sh launch/{work}.sh)" for work in ("task", "general"))


def test_a_recipe_of_the_other_program_is_one_problem(tmp_path: Path) -> None:
    of_tasks = {RECIPES / "task-paper.yaml"}
    for path in RECIPES.glob("*.yaml"):
        script, other = ("general", "task")[:: -1 if path in of_tasks else 1]
        with pytest.raises(OtherProgram) as raised:
            load_options(["--config", str(path), "--sed", "1"], GENERAL if path in of_tasks else TASK)
        (problem,) = raised.value.problems
        assert problem.startswith(f"--config {path} (command line): a recipe of launch/{script}.sh (it has ")
        assert problem.endswith(f"and this program reads recipes of launch/{other}.sh")
    flat = tmp_path / "augment.yaml"
    flat.write_text("task: mrpc")
    with pytest.raises(ConfigError, match="--data-dir: required"):
        load_options(["--config", str(flat)], AUGMENT)
    strays = tmp_path / "recipe.yaml"
    strays.write_text("data: {sequence_length: 64}\none: {epochs: 1}")
    with pytest.raises(ConfigError) as caught:
        load_config([*REQUIRED, "--config", str(strays)])
    assert f"--one.epochs 1 (recipe {strays}): {OF_TASK}; did you mean --run.epochs?" in str(caught.value)


def test_the_options_of_the_other_program_are_one_problem() -> None:
    of_task = ["--task.name", "sst-2", "--one.epochs", "3", "--run.output_dir", "o", "--run.sed", "1"]
    with pytest.raises(OtherProgram) as raised:
        load_config(of_task)
    assert str(raised.value) == (
        "--task.name, --one.epochs: of launch/task.sh, and this program takes the options of launch/general.sh"
    )
    with pytest.raises(OtherProgram, match=r"^--data\.text: of launch/general\.sh"):
        load_options(["--data.text", "a.txt"], TASK)
    with pytest.raises(ConfigError) as caught:
        load_config([*of_task, "--data.shards", "s"])  # of both
    assert f"--task.name sst-2 (command line): {OF_TASK}\n" in str(caught.value)


def test_the_sections_that_one_of_the_two_has() -> None:
    names = ["data.text", "task.name", "one.epochs", "run.seed", "students"]
    assert own_sections(GeneralConfig, names) == {"data"}
    assert own_sections(TaskConfig, names) == {"task", "one"}


@pytest.mark.parametrize(
    ("here", "there", "work"), [(GeneralConfig, TaskConfig, OF_TASK), (TaskConfig, GeneralConfig, OF_GENERAL)]
)
def test_every_option_of_the_other_program_is_called_so(
    here: type[ProgramConfig], there: type[ProgramConfig], work: str
) -> None:
    own = options_of(here)
    others = [name for name in options_of(there) if name not in own]
    assert len(others) > 20
    for name in others:
        said, meant = no_such_option(name, here)
        assert said.startswith(work) and own.keys() >= set(meant), name


@pytest.mark.parametrize(
    ("schema", "name", "said"),
    [
        (GeneralConfig, "task.name", OF_TASK),  # and not --objective.name
        (GeneralConfig, "one.max_steps", f"{OF_TASK}; did you mean --run.max_steps?"),
        (GeneralConfig, "task.max_length", f"{OF_TASK}; did you mean --data.sequence_length?"),
        (GeneralConfig, "task.data_dir", f"{OF_TASK}; text is named by --data.text"),
        (GeneralConfig, "two.temprature", f"no such option; --two.temperature is {OF_TASK}"),
        (TaskConfig, "data.text", f"{OF_GENERAL}; the files of a task are in --task.data_dir"),
        (TaskConfig, "students", OF_GENERAL),
        (TaskConfig, "mlm.probability", OF_GENERAL),
        (
            TaskConfig,
            "run.max_step",
            f"no such option; --run.max_steps is {OF_GENERAL}; did you mean --finetune.max_steps or --mlm.max_steps or "
            "--one.max_steps or --two.max_steps?",
        ),
        # Nearer to one of the program's own:
        (GeneralConfig, "task.text", "no such option; did you mean --data.text?"),
        (GeneralConfig, "run.epoch", "no such option; did you mean --run.epochs?"),
        (TaskConfig, "data.text_a_column", "no such option; did you mean --task.text_a_column?"),
        (TaskConfig, "task.nme", "no such option; did you mean --task.name?"),
    ],
)
def test_what_is_said_of_an_option_that_is_none(schema: type[ProgramConfig], name: str, said: str) -> None:
    assert no_such_option(name, schema)[0] == said


def test_the_values_of_an_option_of_the_other_program_are_no_mistakes_of_their_own() -> None:
    with pytest.raises(ConfigError) as caught:
        load_options(["--data.text", "a.txt", "b.txt", "--run.async_save", "--task.name", "rte", "--task.sed"], TASK)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith(f'  --data.text ["a.txt", "b.txt"] (command line): {OF_GENERAL}')
    assert lines[2] == f"  --run.async_save true (command line): {OF_GENERAL}"
    assert lines[3].startswith("  --task.sed true (command line): no such option")
    assert all("required" in line for line in lines[4:])
