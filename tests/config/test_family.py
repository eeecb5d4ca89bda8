"""The option students: entries over the recipe's sections, a file of them, and mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import ConfigError, dump_yaml, load_config, load_options
from megatinybert.config.run_folder import students_in
from megatinybert.config.task import TASK

REQUIRED = ["--teacher.model", "bert", "--data.shards", "shards"]


def load(tmp_path: Path, students: object, *arguments: str, **sections: object) -> GeneralConfig:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**sections, "students": students}))
    return load_config([*REQUIRED, "--config", str(recipe), *arguments])


def problems(tmp_path: Path, students: object, *arguments: str, **sections: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, students, *arguments, **sections)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_an_entry_leaves_the_rest_to_the_recipe(tmp_path: Path) -> None:
    entries = [
        {"name": "small", "student": {"config": "3L-312"}},
        {
            "name": "tiny",
            "objective": {"layer_map": "top"},
            "schedule": {"warmup_steps": 9},
            "optimizer": {"name": "sgd"},
            "student": {"init": "random", "hidden_dropout": None},
        },
    ]
    sections = {
        "optimizer": {"learning_rate": 3e-4, "eps": 1e-7},
        "schedule": {"warmup_fraction": 0.2},
        "student": {"hidden_dropout": 0.1, "solve_tokens": 99},
        "run": {"output_dir": "out", "seed": 5},
    }
    loaded = load(tmp_path, entries, "--objective.attention_weight", "0.5", **sections)
    small, tiny = members_of(loaded).values()
    assert small.student.config == "3L-312" and small.student.hidden_dropout == 0.1
    assert small.schedule.warmup_steps is None and small.schedule.warmup_fraction == 0.2
    assert small.student.init == "solved" and small.student.solve_tokens == 99 and small.optimizer.eps == 1e-7
    assert tiny.student.config == "4L-312" and tiny.student.hidden_dropout == 0.0 and tiny.schedule.warmup_steps == 9
    assert tiny.objective.layer_map == "top" and small.objective.layer_map == "uniform"
    for member in (small, tiny):
        assert member.objective.attention_weight == 0.5 and member.optimizer.learning_rate == 3e-4
        assert member.run.seed == 5 and member.students is None
    assert [member.run.output_dir for member in (small, tiny)] == ["out/small", "out/tiny"]


def test_the_resolved_recipe_reads_back_to_an_equal_one(tmp_path: Path) -> None:
    entries = [{"name": "a", "schedule": {"warmup_steps": 9}}, {"name": "b", "student": {"init": "random"}}]
    loaded = load(tmp_path, entries, schedule={"warmup_fraction": 0.3}, student={"solve_tokens": 77})
    (tmp_path / "again.yaml").write_text(dump_yaml(loaded))
    assert load_config(["--config", str(tmp_path / "again.yaml")]) == loaded
    (tmp_path / "config.yaml").write_text(dump_yaml(loaded))
    assert students_in(tmp_path) == ["a", "b"]
    without = load_config(REQUIRED)
    assert "students" not in dump_yaml(without) and members_of(without) == {}
    (tmp_path / "config.yaml").write_text(dump_yaml(without))
    assert students_in(tmp_path) == [] and students_in(tmp_path / "nowhere") == []


def test_a_file_of_entries(tmp_path: Path) -> None:
    file = tmp_path / "students.yaml"
    file.write_text("- name: only\n  optimizer: {learning_rate: 3e-5}\n")
    loaded = load_config([*REQUIRED, "--students", str(file)])
    assert [(each.name, each.optimizer.learning_rate) for each in loaded.students or []] == [("only", 3e-5)]
    assert load(tmp_path, str(file)).students == loaded.students
    assert load(tmp_path, str(file), "--students", "null").students is None
    file.write_text("- name: a\n  name: b\n")
    assert "the key 'name' is given twice" in problems(tmp_path, str(file))[0]
    told = f"--students nowhere.yaml (recipe {tmp_path / 'recipe.yaml'}): No such file or directory"
    assert problems(tmp_path, "nowhere.yaml") == [told]


def test_mistakes_are_told_together_each_with_its_place(tmp_path: Path) -> None:
    entries = [
        {"name": "small", "student": {"config": "3L-31"}},
        {"name": "Small", "optimizer": {"learning_rate": -1}},
        {"name": "a/b"},
        {"name": "x", "run": {"seed": 3}, "objective": {"layermap": "top"}},
        7,
        {"name": "y", "objective": {"name": "mlm"}, "student": {"init": "folder"}},
        {"student": {"config": "3L-312"}},
        {"name": "z", "schedule": {"warmup_steps": 2, "warmup_fraction": 0.1}},
        {"name": "checkpoints"},
    ]
    found = problems(tmp_path, entries, "--run.seed", "-1")
    expected = [
        "--run.seed -1 (command line): must be a whole number >= 0",
        "students[2]: the name a/b cannot be that of its folder",
        "students[3] (x): objective.layermap: no such option; did you mean objective.layer_map?",
        "students[3] (x): run.seed is common to all students",
        "students[4]: needs a name and sections such as 'student:', not 7",
        "students[6]: the name null cannot be that of its folder",
        "students[8]: the name checkpoints is taken",
        "students[1] (Small): another student has this name",
        "students[0] (small): --student.config 3L-31 (its entry): neither a shipped shape",
        "students[1] (Small): --optimizer.learning_rate -1 (its entry): must be a number > 0 and <= 1",
        "students[5] (y): --objective.name mlm (its entry): it has no teacher",
        "students[7] (z): --schedule.warmup_fraction 0.1 (its entry) has no effect beside --schedule.warmup_steps 2",
    ]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("students", [[], {"name": "a"}, 3])
def test_what_is_no_list_of_students(tmp_path: Path, students: object) -> None:
    found = problems(tmp_path, students)
    assert len(found) == 1 and found[0].startswith("--students")


def test_a_value_of_the_command_line_that_all_entries_replace(tmp_path: Path) -> None:
    entries = [{"name": name, "student": {"config": name}} for name in ("3L-312", "4L-312")]
    found = problems(tmp_path, entries, "--student.config", "6L-384")
    assert found == [
        "--student.config 6L-384 (command line) has no effect: every entry of students has its own; change it there"
    ]
    students = load(tmp_path, [*entries, {"name": "c"}], "--student.config", "6L-384").students or []
    assert [student.student.config for student in students] == ["3L-312", "4L-312", "6L-384"]


def test_a_task_has_one_student() -> None:
    arguments = ["all", "--task.name", "sst-2", "--task.data_dir", "d", "--teacher.model", "t", "--students", "s.yaml"]
    with pytest.raises(
        ConfigError, match=r"--students s.yaml \(command line\): an option of general distillation alone"
    ):
        load_options(arguments[1:], TASK)
