"""The command line of task distillation, and what it tells the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.load import ConfigError
from megatinybert.config.rows import TASKS as TASK_NAMES
from megatinybert.config.task import ACTIONS, MOST_EPOCHS, TOKENS_BY_DEFAULT, TaskConfig
from megatinybert.task import read_arguments
from megatinybert.tasks.stage_options import SECTIONS, steps_of, training_of
from megatinybert.tasks.table import TASKS

GIVEN = [
    "--task.name",
    "custom",
    "--task.data_dir",
    "data",
    "--teacher.model",
    "some/bert",
    "--student.config",
    "4L-312",
]


def config(*more: str) -> TaskConfig:
    return read_arguments(["all", *GIVEN, *more])[1]


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_arguments(list(words))
    return str(caught.value)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_action_comes_first(action: str) -> None:
    """The launcher puts --local_rank before it."""
    assert read_arguments([action, *GIVEN]) == read_arguments(["--local_rank=0", action, *GIVEN]) == (action, config())


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("al", "did you mean all?"),
        ("teach", "did you mean teacher?"),
        ("tow", "did you mean two?"),
        ("distil", f"the first argument is one of {', '.join(ACTIONS)}"),
    ],
)
def test_another_word_is_no_action(word: str, hint: str) -> None:
    assert refusal(word, *GIVEN) == f"{word}: no such action; {hint}"


def test_an_action_that_was_forgotten_is_no_misspelt_one() -> None:
    needed = f"the first argument is one of {', '.join(ACTIONS)}; --help lists the options"
    assert refusal("--teacher.model", "t", *GIVEN) == f"no action is given: {needed}"


@pytest.mark.parametrize("words", [[], ["--local_rank=0"]])
def test_without_an_action_the_usage_is_told_as_a_mistake(words: list[str]) -> None:
    message = refusal(*words)
    first, *usage = message.split("\n\n")
    assert first == (f"no action is given: the first argument is one of {', '.join(ACTIONS)}; --help lists the options")
    assert usage[0].startswith("usage:\n")
    assert all(f"\n  {action} " in message for action in ACTIONS)


@pytest.mark.parametrize("words", [["--help"], ["two", "--help"], ["--local_rank=0", "all", "-h"]])
def test_help_lists_every_action_and_option(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_arguments(words)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "deepspeed launch/task.sh" in said and "sh launch/task.sh" in said
    assert all(f"\n  {action} " in said for action in ACTIONS)
    sections = config().model_dump()
    names = [f"{name}.{key}" for name, section in sections.items() if isinstance(section, dict) for key in section]
    assert len(names) > 50 and all(f"\n  --{name} " in said for name in [*names, "deepspeed"])
    assert "(text; required)" in said and "4L-312" in said


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--task.labels", "good", "so so", "--teacher.labels", "so so", "good", "--two.epochs", "0.5"],
        [
            "--one.max_steps",
            "7",
            "--augment.copies",
            "published",
            "--augment.vectors",
            "glove.txt",
            "--deepspeed",
            "zero2",
        ],
        ["--task.kind", "regression", "--one.epochs", "0", "--task.force", "true", "--run.held_out_interval", "3"],
    ],
)
def test_the_printed_configuration_is_a_recipe_for_the_same(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_arguments(["eval", *GIVEN, *more, "--print-config"])
    assert ended.value.code == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(capsys.readouterr().out, encoding="utf-8")
    assert read_arguments(["eval", "--config", str(recipe)]) == ("eval", config(*more))


@pytest.mark.parametrize("stage", SECTIONS.values())
def test_epochs_beside_steps_are_refused(stage: str) -> None:
    message = refusal("all", *GIVEN, f"--{stage}.epochs", "2", f"--{stage}.max_steps", "9")
    assert f"--{stage}.epochs 2 (command line) has no effect beside --{stage}.max_steps 9" in message
    assert config(f"--{stage}.epochs", "2", f"--{stage}.max_steps", "null") == config(f"--{stage}.epochs", "2")


@pytest.mark.parametrize("init", ["random", "teacher"])
def test_a_student_needs_a_shape_or_weights(init: str) -> None:
    message = refusal("all", *GIVEN[:-2], "--student.init", init)
    for text in (f"--student.init {init} has no shape", "--student.config", "4L-312", "the general student"):
        assert text in message
    assert read_arguments(["all", *GIVEN[:-2], "--student.init", "runs/general"])[1].student.config is None


def test_predictions_of_other_kinds_are_refused() -> None:
    """Before anything is answered."""
    message = refusal("predict", *GIVEN, "--predict.output", "out.xlsx")
    assert "--predict.output out.xlsx (command line): predictions are written as .tsv or .jsonl" in message
    assert config("--predict.output", "out.jsonl").predict.output == "out.jsonl"


def test_all_mistakes_are_told_at_once() -> None:
    message = refusal(
        "all",
        *("--task.nme", "custom", "--two.temperature", "0", "--one.global_batch", "30", "--one.micro_batch", "7"),
        *("--task.encoding", "gb18031", "--task.text_b_column", "title", "--task.columns", "[a, A]"),
        *("--augment.copies", "few", "--student.config", "4L-313"),
    )
    expected = (
        "--task.nme custom (command line): no such option; did you mean --task.name?",
        "--task.data_dir: required",
        "--teacher.model: required",
        "--two.temperature 0 (command line): must be a number > 0 (default: 1.0)",
        "30 is not a multiple of",
        "--augment.copies few (command line): must be a whole number >= 0 or published (default: 0)",
        "did you mean 4L-312?",
        "--task.encoding gb18031 (command line): Python has no such text codec: did you mean gb18030?",
        "--task.text_b_column title (command line): names the second text of a pair: name the column of the first",
        '--task.columns ["a", "A"] (command line): gives two columns the same name',
    )
    for text in expected:
        assert text in message, message
    assert message.startswith("10 problems")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("max_steps", "--finetune.max_steps or --mlm.max_steps or --one.max_steps or --two.max_steps?"),
        (
            "run.batch_size",
            "--finetune.global_batch or --mlm.global_batch or --one.global_batch or --two.global_batch?",
        ),
        ("finetun.max_steps", "--finetune.max_steps?"),
        ("tow.lr", "--two.learning_rate?"),
        ("max_length", "--task.max_length?"),
        ("task.label", "--task.labels or --task.label_column?"),
    ],
)
def test_every_option_that_ends_as_a_wrong_one_is_named(wrong: str, meant: str) -> None:
    assert f"--{wrong} 5 (command line): no such option; did you mean {meant}" in refusal(
        "all", *GIVEN, f"--{wrong}", "5"
    )


def test_a_task_of_another_name_is_told_beside_other_mistakes() -> None:
    message = refusal("all", "--task.name", "mrcp", *GIVEN[2:], "--two.temprature", "3")
    assert "--task.name mrcp (command line): no such task. Did you mean mrpc? There are cola, " in message
    assert "did you mean --two.temperature?" in message and message.startswith("2 problems")
    assert config("--task.name", "SST 2").task.name == "SST 2"
    assert tuple(TASKS) == TASK_NAMES


@pytest.mark.parametrize(
    ("section", "given", "rows", "tokens", "steps"),
    [
        ("two", {}, 1_000, TOKENS_BY_DEFAULT // 4, 4 * 1_000 // 32),
        ("two", {}, 1_000, TOKENS_BY_DEFAULT // 4 + 10, 125),  # steps are rounded up
        ("two", {}, 32, 320, MOST_EPOCHS),
        ("two", {}, 64_000, 4 * TOKENS_BY_DEFAULT, 64_000 // 4 // 32),  # a part of an epoch
        ("finetune", {}, 64_000, 4 * TOKENS_BY_DEFAULT, 64_000 // 32),  # a teacher sees every row
        ("one", {"one.epochs": 2.5, "one.global_batch": 8}, 101, 10**9, 32),
        ("mlm", {"mlm.max_steps": 3}, 10, 100, 3),
    ],
)
def test_steps_of_a_stage(section: str, given: dict[str, object], rows: int, tokens: int, steps: int) -> None:
    words = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    assert steps_of(getattr(config(*words), section), rows, tokens) == steps


def test_the_engine_is_told_the_options_of_the_stage() -> None:
    more = ["--two.learning_rate", "0.5", "--two.global_batch", "12", "--two.micro_batch", "3", "--run.seed", "4"]
    asked = config(*more, "--optimizer.weight_decay", "0.2", "--run.save_interval", "9")
    training = training_of(asked, "two", Path("there"), max_steps=101, interval=11)
    assert (training.optimizer.learning_rate, training.optimizer.weight_decay) == (0.5, 0.2)
    run = training.run
    assert (run.output_dir, run.max_steps, run.global_batch, run.micro_batch) == ("there", 101, 12, 3)
    assert (run.seed, run.save_interval, run.held_out_interval) == (4, 9, 11)


@pytest.mark.parametrize(
    ("section", "given", "width", "rate"),
    [
        ("finetune", (), 384, 1e-4),
        ("finetune", (), 768, 5e-5),
        ("finetune", (), 1024, 3.8e-5),
        ("finetune", ("--finetune.learning_rate", "2e-5"), 768, 2e-5),
        ("one", (), 192, 3e-4),
        ("one", ("--two.learning_rate", "1e-3"), 768, 1.5e-4),
        ("two", ("--one.learning_rate", "1e-3"), 312, 1e-4),
        ("mlm", (), 768, 1.5e-4),
    ],
)
def test_a_learning_rate_by_default_suits_the_width_of_the_model(
    section: str, given: tuple[str, ...], width: int, rate: float
) -> None:
    training = training_of(config(*given), section, Path("there"), 101, width=width)
    assert training.optimizer.learning_rate == rate


@pytest.mark.parametrize("stage", ["finetune", "mlm", "one", "two"])
def test_a_learning_rate_without_its_minus_is_refused(stage: str) -> None:
    option = f"--{stage}.learning_rate"
    told = f"{option} 2e5 (command line): learning rates are at most 1: did you mean 2e-5?"
    assert told in refusal("all", *GIVEN, option, "2e5")
    assert refusal("all", *GIVEN, option, "1.5").count("learning rates are at most 1 (default") == 1
    assert f"{option} 0 (command line): must be a number > 0 and <= 1" in refusal("all", *GIVEN, option, "0")
