"""Recipes that are not what they should be: refused by file or option, in little time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from megatinybert.config.load import ConfigError, load_config, load_options
from megatinybert.config.named_paths import missing_of_general
from megatinybert.config.task import TASK
from tests.helpers.hostile_recipes import hostile_recipe, many_aliases
from tests.helpers.toys import REPOSITORY

REQUIRED = ["--teacher.model", "teacher", "--data.shards", "shards"]
LONG = "x" * 5000


def refusal(tmp_path: Path, text: str) -> str:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_config([*REQUIRED, "--config", str(recipe)])
    assert str(recipe) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run: {seed: !!int x}", "'x' cannot be read as int"),
        ("run: {seed: !!int ''}", "'' cannot be read as int"),
        ("run: {skip_bad_batches: 0b_}", "'0b_' cannot be read as int"),
        ("run: {seed: !!bool x}", "'x' cannot be read as bool"),
        (f"run: {{seed: {'9' * 5000}}}", "cannot be read as int"),
        (f"run: {{seed: 0x{'f' * 5000}}}", "cannot be read as int"),
        ("run: {seed: !!binary aGk=}", "binary"),
        ("data: {text: !!set {a, b}}", "set"),
        (f"run: {{seed: {'[' * 3000}{']' * 3000}}}", "nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(1000)), "nested too deeply"),
        (f"run: {many_aliases(12)}", "more than 1,000,000 values"),
        ("run: {seed: 1}\nrun.seed: 2", "given twice"),
        ("run: {&a seed: 1, *a : 2}", "the key 'seed' is given twice"),
        ("run:\n  seed: 1\n  epochs: 2\n  seed: 3", "not valid YAML: the key 'seed' is given twice (line 4, column 3)"),
        (
            "run:\n  seed: 1\n epochs: 2",
            "not valid YAML: while parsing a block mapping (line 1, column 1) expected <block end>, but found "
            "'<block mapping start>' (line 3, column 2)",
        ),
        (
            "run: a\0b",
            "not valid YAML: unacceptable character #x0000: special characters are not allowed at position 6",
        ),
    ],
)
def test_what_no_recipe_holds(tmp_path: Path, text: str, problem: str) -> None:
    said = refusal(tmp_path, text)
    assert problem in said and "<unicode string>" not in said and "^" not in said


def test_merges_of_merges_are_not_written_out(tmp_path: Path) -> None:
    merges = (f"m{n}: &m{n}\n  <<: [{', '.join([f'*m{n - 1}'] * 9)}]\n  k{n}: 1\n" for n in range(1, 13))
    assert "more than 1,000,000 values" in refusal(tmp_path, "m0: &m0 {k: 1}\n" + "".join(merges))


@pytest.mark.parametrize("number", ["9" * 400, str(2**63), str(-(2**63) - 1)])
def test_a_whole_number_of_more_than_64_bits(tmp_path: Path, number: str) -> None:
    assert f"--run.global_batch {number[:77]}" in refusal(tmp_path, f"run: {{global_batch: {number}}}")


def test_a_date_is_text_and_aliases_are_values(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("run: {output_dir: 2026-01-31}\nstudent: &s {<<: {init: solved}, config: 3L-312}\nstudents: null")
    loaded = load_config([*REQUIRED, "--config", str(recipe)])
    assert (loaded.run.output_dir, loaded.student.init) == ("2026-01-31", "solved")


@pytest.mark.parametrize(
    "text",
    [
        f"teacher: {{model: /{LONG}}}",
        f"run: {{output_dir: {LONG}}}",
        'run: {output_dir: "a\\0b"}',
        f"run: {{resume: {LONG}}}",
        'run: {resume: "a\\0b"}',
        'students: "a\\0b"',
        f"data: {{text: [{LONG}]}}",
        f"student: {{config: {LONG}}}",
        f"deepspeed: {LONG}",
    ],
)
def test_a_name_that_no_file_can_have(tmp_path: Path, text: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ConfigError, match="x{70}|a\0b"):
        load_config(["--teacher.tokenizer", "here", "--config", str(recipe)], missing_of_general)


@pytest.mark.parametrize("name", ["tinybert-4l", "family"])
def test_random_structures_are_read_or_refused(tmp_path: Path, name: str) -> None:
    """`make fuzz` draws more of them."""
    draw, recipe, refused = np.random.default_rng(0), tmp_path / "recipe.yaml", 0
    content = yaml.safe_load((REPOSITORY / "launch" / "recipes" / f"{name}.yaml").read_text())
    for _ in range(100):
        recipe.write_bytes(hostile_recipe(content, draw))
        try:
            load_config(["--config", str(recipe)])
        except ConfigError:
            refused += 1
    assert 20 < refused < 100  # neither are all of them harmless, nor all refused for one reason


@pytest.mark.parametrize("recipe", ["run: {max_steps: 4}", "run: {epochs: 2}"])
def test_of_options_that_replace_each_other_the_command_lines_counts(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    command = [*REQUIRED, "--config", str(path)]
    for option, other in (("max_steps", "epochs"), ("epochs", "max_steps")):
        run = load_config([*command, f"--run.{option}", "3"]).run
        assert (getattr(run, option), getattr(run, other)) == (3, None)
    path.write_text("run: {max_steps: 4, epochs: 2}")
    for more in ([], ["--run.seed", "1"]):
        with pytest.raises(ConfigError, match="has no effect beside --run.max_steps 4 .recipe"):
            load_config([*command, *more])
    with pytest.raises(ConfigError, match="has no effect beside --run.max_steps 4 .command line"):
        load_config([*REQUIRED, "--run.epochs", "2", "--run.max_steps", "4"])
    assert load_config([*command, "--run.max_steps", "null"]).run.epochs == 2


def test_so_do_those_of_a_task_and_of_an_entry(tmp_path: Path) -> None:
    task, family = tmp_path / "task.yaml", tmp_path / "family.yaml"
    task.write_text("one: {epochs: 2}\nschedule: {warmup_steps: 5}")
    required = ["--teacher.model", "teacher", "--task.name", "sst-2", "--task.data_dir", "d"]
    required += ["--student.config", "4L-312", "--one.max_steps", "3", "--schedule.warmup_fraction", "0.2"]
    config = load_options([*required, "--config", str(task)], TASK)
    assert (config.one.epochs, config.one.max_steps) == (None, 3)
    assert (config.schedule.warmup_steps, config.schedule.warmup_fraction) == (None, 0.2)
    family.write_text("schedule: {warmup_steps: 5}\nstudents: [{name: a}, {name: b, schedule: {warmup_fraction: 0.3}}]")
    students = load_config([*REQUIRED, "--config", str(family)]).students or []
    assert [(each.schedule.warmup_steps, each.schedule.warmup_fraction) for each in students] == [(5, 0.1), (None, 0.3)]
