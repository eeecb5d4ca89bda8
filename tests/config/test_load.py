"""The configuration: schema, recipe, command line, and the reporting of mistakes."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.data import DataConfig
from megatinybert.config.general import ObjectiveConfig
from megatinybert.config.load import ConfigError, GeneralConfig, dump_yaml, load_config, load_options, resolve_batch
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import shipped_students, split_batch
from megatinybert.config.task import TASK

REQUIRED = ["--teacher.model", "bert", "--data.shards", "shards"]


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return str(path)


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config([*REQUIRED, *arguments])
    return str(caught.value)


def config(global_batch: int, micro_batch: int | None = None) -> GeneralConfig:
    run = {"global_batch": global_batch, "micro_batch": micro_batch}
    return GeneralConfig.model_validate({"teacher": {"model": "t"}, "data": {"shards": "d"}, "run": run})


def test_command_line_alone_is_enough() -> None:
    loaded = load_config(REQUIRED)
    assert loaded.teacher.model == "bert"
    assert loaded.data.shards == ["shards"]
    assert loaded.student.config == "4L-312"
    assert loaded.run.max_steps is None and loaded.run.epochs is None  # by the size of the run
    assert loaded.schedule.warmup_fraction == 0.1 and loaded.schedule.warmup_steps is None
    assert loaded.deepspeed == "auto"


def test_both_spellings_and_the_launchers_argument() -> None:
    loaded = load_config(["--local_rank=1", *REQUIRED, "--run.seed=7", "--run.micro_batch", "8", "--local-rank", "0"])
    assert (loaded.run.seed, loaded.run.micro_batch) == (7, 8)


def test_values_take_the_type_of_their_option() -> None:
    loaded = load_config(
        [
            *("--teacher.model", "123", "--data.shards", "[a, 'b c']", "--optimizer.learning_rate", "1e-4"),
            *(
                "--optimizer.betas",
                "[0.8, 9e-1]",
                "--objective.layer_map",
                "[0, 2]",
                "--run.output_dir",
                "a=b",
            ),
        ]
    )
    assert loaded.teacher.model == "123"
    assert loaded.data.shards == ["a", "b c"]
    assert loaded.optimizer.learning_rate == 1e-4
    assert loaded.optimizer.betas == (0.8, 0.9)
    assert loaded.objective.layer_map == [0, 2]
    assert loaded.run.output_dir == "a=b"


def test_an_option_that_takes_a_list_takes_all_words_up_to_the_next_option(tmp_path: Path) -> None:
    arguments = [
        *("--teacher.model", "bert", "--data.text", "a.txt", "b c.txt", "more/"),
        *("--data.mixture", "3", "1e0", "0.5", "--objective.layer_map", "1", "3"),
        *("--optimizer.betas", "0.8", "0.9", "--run.seed", "2"),
    ]
    loaded = load_config(arguments)
    assert loaded.data.text == ["a.txt", "b c.txt", "more/"] and loaded.data.shards is None
    assert loaded.data.mixture == [3, 1, 0.5]
    assert loaded.objective.layer_map == [1, 3] and loaded.optimizer.betas == (0.8, 0.9)
    assert load_config(["--config", write(tmp_path, dump_yaml(loaded))]) == loaded
    one = load_config(["--teacher.model", "bert", "--data.text", "a.txt", "--objective.layer_map", "top"])
    assert one.data.text == ["a.txt"] and one.objective.layer_map == "top"
    for stray in (["--run.seed", "1", "2"], ["--data.shards=a", "2"]):
        assert "  2 (command line): not an option" in refusal(*stray)


def test_either_shards_or_text(tmp_path: Path) -> None:
    message = refusal("--config", write(tmp_path, "data: {text: my.txt}"))
    assert message.count("\n") == 1
    assert "--data.text my.txt (recipe" in message and "beside --data.shards shards (command line)" in message
    assert load_config(["--teacher.model", "b", "--data.shards", "null", "--data.text", "x"]).data.text == ["x"]
    with pytest.raises(ConfigError, match="neither is given"):
        load_config(["--teacher.model", "b", "--data.cache", "c"])
    with pytest.raises(ValueError, match="stands beside --data.shards s; give one of the two"):
        DataConfig.model_validate({"shards": "s", "text": "t"})
    message = refusal("--data.encoding", "gb18030")  # of text, which there is none of
    assert "--data.encoding gb18030 (command line) has no effect beside --data.shards" in message
    assert "has no effect beside --data.shards" in refusal("--data.invalid_utf8", "replace")
    assert load_config([*REQUIRED, "--data.mixture", "0.5"]).data.mixture == [0.5]


def test_command_line_beats_recipe_and_its_last_word_counts(tmp_path: Path) -> None:
    recipe = write(tmp_path, "teacher: {model: t}\ndata:\n  shards: d\nrun:\n  seed: 1\n  log_interval: 5\nstudent:\n")
    loaded = load_config(["--run.seed", "2", "--config", recipe, "--run.seed", "3"])
    assert (loaded.run.seed, loaded.run.log_interval) == (3, 5)
    assert loaded.data.shards == ["d"]


def test_recipe_number_that_yaml_reads_as_text(tmp_path: Path) -> None:
    loaded = load_config([*REQUIRED, "--config", write(tmp_path, "optimizer: {learning_rate: 3e-5}")])
    assert loaded.optimizer.learning_rate == 3e-5


def test_null_undoes_the_recipe(tmp_path: Path) -> None:
    recipe = write(tmp_path, "run: {epochs: 2, seed: 5}")
    loaded = load_config([*REQUIRED, "--config", recipe, "--run.epochs", "null", "--run.max_steps", "9"])
    assert (loaded.run.max_steps, loaded.run.seed) == (9, 5)


def test_an_option_that_is_gone_is_taken_where_it_says_what_is_fixed_now(tmp_path: Path) -> None:
    finished = write(tmp_path, "data: {shards: d, shuffle_group: 64}\nenvironment: {python: 3.11.7}\n")
    loaded = load_config(["--teacher.model", "t", "--config", finished])
    assert loaded == load_config(["--teacher.model", "t", "--data.shards", "d"])
    assert "shuffle_group" not in dump_yaml(loaded)
    for value in ("64", "null"):
        assert load_config([*REQUIRED, "--data.shuffle_group", value]) == load_config(REQUIRED)


def test_an_option_that_is_gone_is_refused_with_another_value(tmp_path: Path) -> None:
    recipe = write(tmp_path, "data: {shuffle_group: 32}")
    for source, arguments in (
        (f"recipe {recipe}", ["--config", recipe]),
        ("command line", ["--data.shuffle_group=32"]),
    ):
        message = refusal(*arguments, "--run.seed", "-1")
        assert message.startswith("2 problems")
        assert f"--data.shuffle_group 32 ({source}): fixed at 64 and no option any more, as " in message
        assert "--data.shuffle_block alone sets how many windows are mixed together" in message


def test_a_program_that_never_had_an_option_does_not_know_it() -> None:
    with pytest.raises(ConfigError, match=r"--data\.shuffle_group 64 \(command line\): no such option"):
        load_options(["--data.shuffle_group", "64", "--task.name", "sst-2"], TASK)


def test_every_problem_is_reported_at_once_with_its_source(tmp_path: Path) -> None:
    recipe = write(tmp_path, "run: {max_step: 5, seed: -1}\nobjectives: {name: tinybert}\nschedule: {type: liner}\n")
    arguments = [
        "--config",
        recipe,
        "--learning_rate",
        "1",
        "--data.sequence_length",
        "4",
        "stray",
        "--run.epochs",
    ]
    with pytest.raises(ConfigError) as caught:
        load_config(arguments)
    lines = str(caught.value).splitlines()
    assert lines[0] == "10 problems in the configuration:"
    expected = [
        ("stray (command line)", "not an option"),
        ("--run.epochs (command line)", "a value is missing"),
        (f"--run.max_step 5 (recipe {recipe})", "did you mean --run.max_steps?"),
        (f"--objectives.name tinybert (recipe {recipe})", "did you mean --objective.name?"),
        ("--learning_rate 1 (command line)", "did you mean --optimizer.learning_rate?"),
        ("--teacher.model", "required"),
        ("--data.shards or --data.text", "one of them is required, and neither is given"),
        ("--data.sequence_length 4 (command line)", "must be a whole number >= 8 (default: 128)"),
        (f"--schedule.type liner (recipe {recipe})", "must be one of linear, cosine, constant"),
        (f"--run.seed -1 (recipe {recipe})", "must be a whole number >= 0 (default: 0)"),
    ]
    for line, (start, part) in zip(sorted(lines[1:]), sorted((f"  {a}", b) for a, b in expected), strict=True):
        assert line.startswith(start) and part in line


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("teacher.dtype", "int8", "one of auto, fp32, fp16, bf16"),
        ("teacher.model", "", "text"),
        ("student.hidden_dropout", "1", "a number >= 0 and < 1"),
        ("student.config", "4L-321", "did you mean 4L-312?"),
        ("data.pair_probability", "1.5", "a number >= 0 and <= 1"),
        ("data.shards", "[]", "a list, each text"),
        ("data.mixture", "0", "a list, each a number > 0"),
        ("data.mixture", "[1, 2]", "needs as many weights as --data.shards has entries, 1 (shards), not 2"),
        ("objective.layer_map", "[3, 1]", "the layers must rise strictly"),
        ("objective.layer_map", "[2, 2]", "the layers must rise strictly"),
        ("objective.layer_map", "[0, -1]", "uniform, top, bottom or a list, each a whole number >= 0"),
        ("optimizer.betas", "0.9", "a list of 2, each a number >= 0 and < 1"),
        ("optimizer.eps", "nan", "a number > 0"),
        ("optimizer.learning_rate", "1e-4x", "a number > 0"),
        ("run.max_steps", "1.5", "a whole number >= 1 or null"),
        ("run.seed", "true", "a whole number >= 0"),
    ],
)
def test_refused_values_say_what_is_allowed(option: str, value: str, allowed: str) -> None:
    message = refusal(f"--{option}", value)
    assert message.startswith("1 problem in the configuration:\n  " + f"--{option} ")
    assert "(command line)" in message and allowed in message


def test_yaml_truth_values_and_numbers_are_not_converted(tmp_path: Path) -> None:
    message = refusal("--config", write(tmp_path, "run: {seed: yes, output_dir: 12}"))
    assert "--run.seed true (recipe" in message and "--run.output_dir 12 (recipe" in message


@pytest.mark.parametrize(
    ("recipe", "option", "value", "other"),
    [
        ("optimizer: {betas: [0.9, 0.99]}", "optimizer.name", "sgd", "optimizer.betas"),
        ("optimizer: {muon_factor: 2}", "optimizer.name", "adamw", "optimizer.muon_factor"),
    ],
)
def test_conflicts_name_both_sides(tmp_path: Path, recipe: str, option: str, value: str, other: str) -> None:
    message = refusal("--config", write(tmp_path, recipe), f"--{option}", value)
    assert f"--{option} {value} (command line)" in message
    assert f"--{other} " in message and "recipe.yaml" in message and f"--{other} null" in message


def test_objective_without_terms() -> None:
    weights = [f"--objective.{term}_weight=0" for term in ("attention", "hidden", "embedding")]
    assert "all 0" in refusal(*weights)
    load_config([*REQUIRED, *weights[:2]])


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("run: {seed: 1", "not valid YAML"),
        ("run: {seed: 1}\nrun: {seed: 2}", "the key 'run' is given twice"),
        ("- run", "needs sections"),
        ("run: 5", "no such option"),
    ],
)
def test_recipe_that_is_not_one(tmp_path: Path, text: str, part: str) -> None:
    assert part in refusal("--config", write(tmp_path, text))


def test_missing_and_doubled_recipe(tmp_path: Path) -> None:
    recipe = write(tmp_path, "")
    load_config([*REQUIRED, "--config", recipe])
    assert "no such file" in refusal("--config", str(tmp_path / "none.yaml"))
    assert "given twice" in refusal("--config", recipe, "--config", recipe)


@pytest.mark.parametrize("content", [None, "run: [", "- a list"])
def test_of_a_recipe_that_cannot_be_read_nothing_is_missed(tmp_path: Path, content: str | None) -> None:
    """Neither required options nor what a student of several lacks. A file with nearly that name is named."""
    (tmp_path / "quick-start.yaml").write_text("run: {seed: 1}\n")
    recipe = tmp_path / "quickstart.yaml"
    if content is not None:
        recipe.write_text(content)
    students = "[{name: a, student: {config: 3L-312}}, {name: b, student: {config: 4L-312}}]"
    for more in ([], ["--data.mixture", "1"], ["--students", students]):
        with pytest.raises(ConfigError) as caught:
            load_config(["--config", str(recipe), *more])
        said = str(caught.value)
        assert said.startswith("1 problem in the configuration:\n") and "required" not in said
        assert (f"; did you mean {tmp_path / 'quick-start.yaml'}?" in said) == (content is None)
    assert "--run.sed" in refusal("--config", str(recipe), "--run.sed", "1")  # which no recipe makes right


def test_a_required_option_that_is_misspelt_is_one_problem() -> None:
    for argv, meant in (
        (["--teacher.modle", "t", "--data.text", "a.txt"], "teacher.model"),
        (["--teacher.model", "t", "--data.txt", "a.txt"], "data.text"),
        (["--objective.name", "mlm", "--teacher.tokeniser", "t", "--data.text", "a", "--student.init", "random"], ""),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(argv)
        assert str(caught.value).startswith("1 problem in the configuration:")
        assert f"did you mean --{meant or 'teacher.tokenizer'}?" in str(caught.value)
    with pytest.raises(ConfigError, match="2 problems") as caught:
        load_config(["--teacher.modle", "t"])
    assert "--data.shards or --data.text: one of them is required" in str(caught.value)


def test_a_misspelt_option_is_looked_at_as_what_was_meant() -> None:
    seen: list[Mapping[str, Any]] = []

    def missing(given: Mapping[str, Any]) -> list[str]:
        seen.append(given)
        return []

    for argv in (["--teacher.modle", "t"], ["--teacher.modle", "t", "--teacher.model", "right"], ["--tokenizers", "t"]):
        with pytest.raises(ConfigError):
            load_config([*argv, "--data.text", "a.txt"], missing)
    assert [given.get("teacher.model") for given in seen] == ["t", "right", None]


@pytest.mark.parametrize("name", ["max_steps", "run.max-steps", "run.max_stepz", "rum.max_steps", "train.max_steps"])
def test_nearest_name(name: str) -> None:
    assert nearest(name, ["run.max_steps", "run.seed", "optimizer.name"]) == "run.max_steps"


def test_of_names_that_are_equally_near_the_first_is_meant() -> None:
    names = ["task.text_a_column", "task.text_b_column", "task.label_column"]
    assert nearest("task.text_colum", names) == "task.text_a_column"
    assert nearest("task.text_colum", reversed(names)) == "task.text_b_column"


def test_nothing_is_near() -> None:
    assert nearest("xyzzy", ["run.max_steps", "run.seed"]) is None
    assert nearest("x", []) is None
    assert nearest("标鉴", ["评论", "标签"]) == "标签"
    assert nearest("评伦", ["评论", "评语"]) is None  # either may be meant
    assert nearest("en", ["de", "fr", "zh"]) is None  # a letter in another place says nothing


@pytest.mark.parametrize(
    ("global_batch", "micro_batch", "ranks", "expected"),
    [
        (256, None, 1, (32, 8)),
        (256, None, 16, (16, 1)),
        (96, None, 2, (24, 2)),
        (37, None, 1, (1, 37)),
        (64, 8, 4, (8, 2)),
    ],
)
def test_batch_arithmetic(global_batch: int, micro_batch: int | None, ranks: int, expected: tuple[int, int]) -> None:
    assert resolve_batch(config(global_batch, micro_batch), ranks) == expected


def test_batch_that_does_not_divide() -> None:
    with pytest.raises(ConfigError, match=r"--run\.global_batch 10 .* 4 ranks; try --run\.global_batch 8 or 12"):
        resolve_batch(config(10), 4)
    with pytest.raises(ConfigError, match=r"global_batch 2 .* 4 ranks; try --run\.global_batch 4$"):
        resolve_batch(config(2), 4)
    expected = r"x 2 ranks; try --run\.global_batch 32 or 64, or --run\.micro_batch 12 or 24"
    with pytest.raises(ConfigError, match=expected):
        resolve_batch(config(48, 16), 2)
    assert "--run.micro_batch 3 x 1 rank;" in refusal("--run.global_batch", "256", "--run.micro_batch", "3")


def test_a_batch_that_is_far_too_large_is_answered_at_once() -> None:
    with pytest.raises(ConfigError, match=r"or --run\.micro_batch 4 or 8$"):
        split_batch(2**60, 7, 4)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--run.max_steps", "5", "--schedule.warmup_steps", "2", "--optimizer.eps", "1e-8"],
        ["--optimizer.name", "sgd", "--objective.layer_map", "[1, 3]", "--teacher.model", "ü: 'x'"],
    ],
)
def test_dump_reads_back_to_the_same(tmp_path: Path, arguments: list[str]) -> None:
    loaded = load_config([*REQUIRED, *arguments])
    assert load_config(["--config", write(tmp_path, dump_yaml(loaded))]) == loaded


def test_every_objective_is_where_the_dict_says() -> None:
    from megatinybert.objectives import OBJECTIVES
    from megatinybert.objectives.base import Objective

    for name, path in OBJECTIVES.items():
        assert ObjectiveConfig(name=name).name == name
        assert issubclass(pkgutil.resolve_name(path), Objective)


def test_shipped_students() -> None:
    assert shipped_students() == ["2L-192", "3L-312", "4L-312", "6L-384", "6L-768"]


@pytest.mark.parametrize("flag", ["--help", "--print-config"])
def test_help_and_print_config_load_no_torch(flag: str, tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "megatinybert.general", *REQUIRED, flag]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "pydantic" in imported and not imported & {"torch", "numpy", "deepspeed", "transformers"}
    if flag == "--help":
        for name, section in load_config(REQUIRED).model_dump().items():
            assert all(f"--{name}.{key} " in done.stdout for key in section) if isinstance(section, dict) else True
        assert "deepspeed launch/general.sh" in done.stdout and "--deepspeed " in done.stdout
    else:
        assert load_config(["--config", write(tmp_path, done.stdout)]) == load_config(REQUIRED)


def test_program_prints_the_problems_without_traceback() -> None:
    command = [sys.executable, "-m", "megatinybert.general", *REQUIRED, "--run.sed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "--run.seed?" in done.stderr and "Traceback" not in done.stderr


def test_config_yaml_of_a_run_is_a_recipe(tmp_path: Path) -> None:
    written = dump_yaml(load_config(REQUIRED)) + "environment:\n  python: 3.11.7\n"
    assert load_config(["--config", write(tmp_path, written)]) == load_config(REQUIRED)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("run.batch_size", "run.global_batch"), ("lr", "optimizer.learning_rate")]
)
def test_names_that_other_programs_use(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"--{wrong} 1 .*did you mean --{meant}?"):
        load_config([*REQUIRED, f"--{wrong}", "1"])


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("run.max_steps 5", "run.max_steps"),
        ("run.max_steps=5", "run.max_steps=5"),
        ("-run.max_steps 5", "run.max_steps"),
        ("\N{EM DASH}run.max_steps 5", "run.max_steps"),
        ("--data.text b.txt run.max_steps 5", "run.max_steps"),  # not a file of the list before it
        ("config {recipe}", "config"),
    ],
)
def test_forgotten_dashes_are_one_problem(tmp_path: Path, given: str, meant: str) -> None:
    more = given.format(recipe=write(tmp_path, "run: {seed: 1}")).split()
    argv = [*more, "teacher.model", "t", "--data.text", "a.txt"]
    with pytest.raises(ConfigError) as caught:
        load_config(argv)
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 problems in the configuration:"
    assert lines[1].endswith(f"did you mean --{meant}?") and lines[2].endswith("did you mean --teacher.model?")


def test_a_misspelt_word_of_the_program_is_one_problem(tmp_path: Path) -> None:
    recipe = write(tmp_path, "teacher: {model: t}\ndata: {text: a.txt}\nstudent: {config: 3L-312}")
    for wrong, meant in (("confg", "config"), ("print-confg", "print-config"), ("print_config", "print-config")):
        value = [recipe] if meant == "config" else []
        said = " ".join([f"--{wrong}", *value])
        rest = [] if meant == "config" else ["--config", recipe]
        with pytest.raises(ConfigError) as caught:
            load_config([f"--{wrong}", *value, *rest])
        assert caught.value.problems == [f"{said} (command line): no such option; did you mean --{meant}?"]
    for value in (["--print-confg", "true"], ["--print-confg=true"]):
        with pytest.raises(ConfigError, match="--print-confg true .*did you mean --print-config?") as caught:
            load_config([*REQUIRED, *value, "--run.seed", "x"])
        assert len(caught.value.problems) == 2  # of which none is of "true"
    assert "lists all options" in refusal("--rank", "4")


def test_one_value_is_a_list_of_one(tmp_path: Path) -> None:
    recipe = write(tmp_path, "objective: {layer_map: 1}\nmonitor: {attention_layers: 1, attention_heads: 0}")
    loaded = load_config([*REQUIRED, "--config", recipe])
    assert (loaded.objective.layer_map, loaded.monitor.attention_layers) == ([1], [1])
    assert load_config([*REQUIRED, "--objective.layer_map", "1", "--monitor.attention_heads", "1"]).monitor == (
        load_config([*REQUIRED, "--monitor.attention_heads", "[1]"]).monitor
    )


def test_numbers_of_base_8_and_60_are_none(tmp_path: Path) -> None:
    loaded = load_config([*REQUIRED, "--config", write(tmp_path, "run: {seed: 0123}\noptimizer: {eps: 1.5e-7}")])
    assert (loaded.run.seed, loaded.optimizer.eps) == (123, 1.5e-7)
    for value in ("1:30", "1:30.5"):
        with pytest.raises(ConfigError, match=rf"--run.seed {value} \(recipe"):
            load_config([*REQUIRED, "--config", write(tmp_path, f"run: {{seed: {value}}}")])


def test_a_seed_too_large_for_torch() -> None:
    with pytest.raises(ConfigError, match="--run.seed 18446744073709551616"):
        load_config([*REQUIRED, "--run.seed", "18446744073709551616"])


@pytest.mark.parametrize("text", ["run: &a {seed: 1, more: *a}", "data: {shards: &b [x, *b]}"])
def test_an_alias_within_what_it_names(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="an alias"):
        load_config([*REQUIRED, "--config", write(tmp_path, text)])
