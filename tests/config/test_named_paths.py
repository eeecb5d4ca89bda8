"""Paths that are not there are told as the options are read, in the words of what opens them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.load import load_config, load_options
from megatinybert.config.missing import missing_model, missing_text
from megatinybert.config.named_paths import missing_of_augment, missing_of_general, missing_of_task
from megatinybert.config.schema import ConfigError
from megatinybert.config.task import TASK
from megatinybert.corpus.shards import open_splits
from megatinybert.corpus.sources import find_sources
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.models.configuration import read_bert_config
from megatinybert.task import read_arguments
from megatinybert.tasks.augment.vectors import vectors_key
from megatinybert.tasks.reading.read import open_task
from megatinybert.training.disk import check_output_folder
from tests.helpers.messages import assert_says
from tests.helpers.toys import REPOSITORY, environment, recipe


def refusal(argv: list[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(argv, missing_of_general)
    return str(caught.value)


def test_all_paths_of_a_run_are_told_with_the_other_mistakes(toy_inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    names = ("teacher.model", "teacher.tokenizer", "student.config", "student.init", "data.shards", "run.resume")
    wrong = {name: tmp_path / name for name in names}
    options = recipe(toy_inputs, **wrong, **{"run.output_dir": tmp_path / "file" / "run", "deepspeed": "zero7"})
    message = refusal([*options, "--run.sed", "1", "--run.epohcs", "2"])
    assert_says(message, "10 problems in the configuration", "did you mean --run.seed?", "did you mean --run.epochs?")
    assert_says(
        message,
        *wrong.values(),
        "is not a whole checkpoint: state.json cannot be read",
        "is a file, not a folder",
        "--deepspeed zero7: no such file",
    )


def test_the_models_of_a_run_are_named_where_its_output_folder_is_a_teacher(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    assert "has left no student yet" in missing_model("--teacher.model", str(tmp_path))
    for name in ("student", "teacher"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    told = f"the output folder of a run; name a model in it: {tmp_path / 'student'} or {tmp_path / 'teacher'}"
    assert missing_model("--teacher.model", str(tmp_path)) == f"--teacher.model {tmp_path}: {told}"
    assert missing_model("--student.init", str(tmp_path)) == ""


@pytest.mark.parametrize("action", ["predict", "eval"])
def test_a_student_that_is_not_there_yet(action: str, tmp_path: Path) -> None:
    given = {"run.output_dir": str(tmp_path)}
    wanted = f"{tmp_path / 'student'} is not there yet: run stage two first, or name a model with --predict.model"
    assert missing_of_task(action, given) == [wanted]
    assert missing_of_task("two", given) == missing_of_task(action, given | {"predict.model": "owner/name"}) == []
    (tmp_path / "student").mkdir()
    assert missing_of_task(action, given) == []


def test_what_a_recipe_decides_that_cannot_be_read_is_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def told(action: str, *options: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read_arguments([action, "--config", "none.yaml", *options], look=True)
        first, *others = caught.value.problems
        assert first.startswith("--config none.yaml (command line): no such file")
        return others

    for action in ("predict", "eval"):
        assert told(action) == told(action, "--run.output_dir", "runs/first") == []
    assert told("one", "--augment.vectors", "none.txt") == []
    assert told("predict", "--predict.input", "none.txt") == [
        "--predict.input none.txt: cannot be read: No such file or directory"
    ]
    with pytest.raises(ConfigError, match="--data.text none.txt: no such file or folder"):
        load_config(["--config", "none.yaml", "--data.text", "none.txt"], missing_of_general)


def test_a_single_path_is_told_alone_and_what_is_there_is_accepted(toy_inputs: Path, tmp_path: Path) -> None:
    missing = tmp_path / "techer"
    (tmp_path / "teacher").mkdir()
    message = refusal(recipe(toy_inputs, **{"teacher.model": missing}))
    assert message.startswith(f"--teacher.model {missing}: cannot read")
    assert message.endswith(f"no such folder; did you mean {tmp_path / 'teacher'}?")
    load_config(recipe(toy_inputs), missing_of_general)
    load_config(recipe(toy_inputs, **{"teacher.model": "owner/name"}), missing_of_general)  # of the hub


def test_a_folder_that_holds_a_run_is_told_where_it_must_not_be_continued(toy_inputs: Path, tmp_path: Path) -> None:
    options = {"run.resume": "never", "run.output_dir": tmp_path}
    (tmp_path / "checkpoints").mkdir()
    load_config(recipe(toy_inputs, **options), missing_of_general)
    (tmp_path / "checkpoints" / "step-00000010").mkdir()
    assert refusal(recipe(toy_inputs, **options)).startswith(f"--run.resume never, but {tmp_path} already holds a run")


def test_a_misspelt_way_to_resume_is_no_checkpoint(toy_inputs: Path) -> None:
    message = refusal(recipe(toy_inputs, **{"run.resume": "nevr"}))
    assert message == "--run.resume nevr: no such folder; did you mean never?"


def test_misspelt_first_weights_are_no_name_on_the_hub(toy_inputs: Path) -> None:
    message = refusal(recipe(toy_inputs, **{"student.init": "solvd"}))
    assert message == "--student.init solvd: no such folder here; did you mean solved?"
    load_config(recipe(toy_inputs, **{"student.init": "bert-base-uncased"}), missing_of_general)


def test_a_file_that_is_not_there_is_told_with_one_of_nearly_its_name(toy_inputs: Path, tmp_path: Path) -> None:
    for name in ("train.txt", "students.yaml", "b.txt", "v1.0"):
        (tmp_path / name).touch()
    options = recipe(toy_inputs, **{"data.shards": "null", "data.text": tmp_path / "trian.txt"})
    assert refusal(options).endswith(f"trian.txt: no such file or folder; did you mean {tmp_path / 'train.txt'}?")
    for unlike in ("unlike.txt", "none.txt", "a.txt"):
        other = recipe(toy_inputs, **{"data.shards": "null", "data.text": tmp_path / unlike})
        assert refusal(other).endswith(f"{unlike}: no such file or folder")
    assert refusal(recipe(toy_inputs, **{"teacher.model": tmp_path / "model.0"})).endswith("no such folder")
    family = recipe(toy_inputs, students=tmp_path / "student.yaml")
    assert f"No such file or directory; did you mean {tmp_path / 'students.yaml'}?" in refusal(family)


def test_a_name_of_two_characters_is_like_one_that_shares_a_character(tmp_path: Path) -> None:
    for name in ("评论", "新闻", "bert-zh"):
        (tmp_path / name).mkdir()
    (told,) = missing_of_task("all", {"task.data_dir": str(tmp_path / "评伦")})
    assert told.endswith(f"no such folder; did you mean {tmp_path / '评论'}?")
    (told,) = missing_of_task("all", {"teacher.model": str(tmp_path / "评伦")})
    assert told.endswith(f"no such folder; did you mean {tmp_path / '评论'}?")
    (tmp_path / "评价").mkdir()
    (told,) = missing_of_task("all", {"task.data_dir": str(tmp_path / "评伦")})
    assert told.endswith("no such folder")


def test_paths_of_a_recipe_and_patterns(tmp_path: Path) -> None:
    written = tmp_path / "recipe.yaml"
    written.write_text(f"teacher: {{model: owner/name}}\ndata: {{text: [{tmp_path}/a.txt, '{tmp_path}/*.txt']}}\n")
    message = refusal(["--config", str(written)])
    for name, problem in (("a.txt", "no such file or folder"), ("*.txt", "no file matches this pattern")):
        assert_says(message, f"--data.text {tmp_path}/{name} (recipe {written}): {problem}")
    message = refusal(["--config", str(written), "--data.text", f"{tmp_path}/a.txt"])
    assert message == f"--data.text {tmp_path}/a.txt: no such file or folder"
    (tmp_path / "a.txt").touch()
    load_config(["--config", str(written)], missing_of_general)


def test_the_folder_that_a_pattern_meant_is_named_where_it_matches_there(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    told = f"--data.text {tmp_path}/text/*.txt: no file matches this pattern"
    assert missing_text("--data.text", f"{tmp_path}/text/*.txt") == told
    (tmp_path / "texts" / "a.txt").touch()
    assert missing_text("--data.text", f"{tmp_path}/text/*.txt") == f"{told}; did you mean {tmp_path}/texts/*.txt?"
    assert missing_text("--data.text", f"{tmp_path}/texts/*.csv").endswith("no file matches this pattern")
    assert missing_text("--data.text", "*.nothing") == "--data.text *.nothing: no file matches this pattern"


def test_a_configuration_is_printed_whatever_is_there(
    toy_inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_config([*recipe(toy_inputs, **{"teacher.model": tmp_path / "no"}), "--print-config"], missing_of_general)
    assert str(tmp_path / "no") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("action", "count"), [("all", 5), ("two", 5), ("teacher", 3), ("eval", 4), ("predict", 5)], ids=str
)
def test_an_action_of_a_task_asks_for_what_it_reads(action: str, count: int, tmp_path: Path) -> None:
    options = {"task.data_dir": "rows", "teacher.model": "t", "student.init": "s", "augment.vectors": "v"}
    options |= {"augment.model": "m", "predict.model": "p", "predict.input": "i"}
    given = {name: str(tmp_path / folder / "x") for name, folder in options.items()}
    assert len(missing_of_task(action, {**given, "augment.copies": "2"})) == count
    assert len(missing_of_task(action, given)) == (3 if count == 5 and action != "predict" else count)
    argv = [part for name, value in given.items() for part in (f"--{name}", value)]
    with pytest.raises(ConfigError, match=r"--task\.data_dir .*: no such folder"):
        load_options([*argv, "--task.name", "rte", "--augment.copies", "2"], TASK, lambda g: missing_of_task(action, g))


def test_the_later_checks_say_the_same(tmp_path: Path) -> None:
    missing, blocked = tmp_path / "none" / "x", tmp_path / "file" / "run"
    (tmp_path / "file").touch()

    def told(**given: str) -> str:
        return missing_of_general({name.replace("__", "."): value for name, value in given.items()})[0]

    for early, late in (
        (told(teacher__model=str(missing)), lambda: read_bert_config(str(missing), "--teacher.model")),
        (told(teacher__tokenizer=str(missing)), lambda: load_tokenizer(missing)),
        (told(data__shards=str(missing)), lambda: open_splits(missing)),
        (told(data__text=str(missing)), lambda: find_sources([missing], tmp_path, "--data.text")),
        (missing_of_augment({"vectors": str(missing)})[0], lambda: vectors_key(missing, "--vectors")),
        (missing_of_task("one", {"task.data_dir": str(missing)})[0], lambda: open_task("rte", str(missing))),
    ):
        with pytest.raises(ValueError) as caught:
            late()
        assert str(caught.value).replace("--data-dir", "--task.data_dir") == early
    finding = check_output_folder(blocked)
    assert finding and finding.text == told(run__output_dir=str(blocked))


def test_files_unfinished_runs_and_other_folders_are_no_models(toy_inputs: Path, tmp_path: Path) -> None:
    run, file = tmp_path / "run", toy_inputs / "teacher" / "config.json"
    run.mkdir()

    def told(option: str, path: Path) -> list[str]:
        return missing_of_general({option: str(path)})

    assert told("teacher.model", file) == [f"--teacher.model {file} is a file: name its folder, {file.parent}"]
    assert told("student.config", file) == []  # a shape may be one
    assert told("student.init", run) == [f"--student.init {run} holds no model: there is no config.json in it"]
    (run / "model").mkdir()
    (run / "model" / "config.json").touch()
    within = f"there is no config.json in it, but one in {run / 'model'}"
    assert told("student.init", run) == [f"--student.init {run} holds no model: {within}"]
    (run / "other").mkdir()
    (run / "other" / "config.json").touch()
    assert told("student.init", run) == [f"--student.init {run} holds no model: there is no config.json in it"]
    (run / ".lock").touch()
    unfinished = f"--student.init {run}: that run has left no student yet; let it end (the same command continues)"
    assert told("student.init", run) == [unfinished]
    (run / "config.yaml").write_text("students: [{name: small}, {name: large}]")
    several = f"holds several students: name the folder of one of them ({run / 'small'}, {run / 'large'})"
    assert told("student.init", run) == [f"--student.init {run} {several}"]
    (run / "student").mkdir()
    assert told("student.init", run) == []
    (run / "train.tsv").touch()
    assert missing_of_task("one", {"task.data_dir": str(run / "train.tsv")}) == [
        f"--task.data_dir {run / 'train.tsv'} is a file: name its folder, {run}"
    ]


def test_runs_look_before_torch_is_imported(toy_inputs: Path, tmp_path: Path) -> None:
    program = (
        "import importlib, sys\n"
        "for name in ('general', 'task'):\n"
        "    sys.argv = ['', *(['teacher'] if name == 'task' else []), *sys.argv[-2:]]\n"
        "    try:\n"
        "        sys.exit(importlib.import_module(f'megatinybert.{name}').main())\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 2\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "--teacher.model", str(tmp_path / "no" / "x")],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot read a model configuration there: no such folder") == 2
