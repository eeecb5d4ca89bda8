"""The options of build_shards.py: names, flags, recipes, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.flat import OptionNames
from megatinybert.config.load import ConfigError, dump_yaml, load_options
from megatinybert.config.shards import SHARDS, BuildOptions
from tests.helpers.toys import REPOSITORY

REQUIRED = ["--input", "a.txt", "--tokenizer", "bert", "--output", "out"]
# Every option of the command by its name there, with a value and what that becomes.
VALUES: dict[str, tuple[list[str], Any]] = {
    "input": (["a.txt", "b c.txt"], ["a.txt", "b c.txt"]),
    "tokenizer": (["bert"], "bert"),
    "output": (["out/x"], Path("out/x")),
    "workers": (["3"], 3),
    "shard-tokens": (["500"], 500),
    "validation-fraction": (["0.25"], 0.25),
    "text-key": (["body"], "body"),
    "document": (["line"], "line"),
    "encoding": (["GB18030"], "GB18030"),
    "invalid-utf8": (["replace"], "replace"),
    "skip-bad-records": (["0.5"], 0.5),
    "drop-duplicates": ([], True),
    "tokenizer-engine": (["tokenizers"], "tokenizers"),
    "ray": ([], "local"),
    "resume": ([], True),
}


def load(*words: str) -> BuildOptions:
    return load_options([*REQUIRED, *words], SHARDS)


def refusal(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_options(list(words), SHARDS)
    return str(caught.value).splitlines()


def test_every_option_has_its_name_and_may_have_underscores() -> None:
    words = [word for name, (given, _) in VALUES.items() for word in (f"--{name}", *given)]
    options = load_options(words, SHARDS)
    assert options.model_dump() == {name.replace("-", "_"): value for name, (_, value) in VALUES.items()}
    underscores = [f"--{word[2:].replace('-', '_')}" if word.startswith("--") else word for word in words]
    assert underscores != words and load_options(underscores, SHARDS) == options


def test_defaults() -> None:
    options = load()
    assert options.ray is None and load("--ray", "auto").ray == load("--ray=auto").ray == "auto"
    assert options.shard_tokens == 100_000_000 and options.validation_fraction == 0.01
    assert (options.workers, options.encoding, options.invalid_utf8, options.resume) == (0, "utf-8", "error", False)


def test_a_flag_may_have_a_value() -> None:
    assert load("--resume").resume and load("--resume", "true").resume and load("--resume=true").resume
    assert not load("--resume", "false").resume and load("--resume", "--workers", "2") == load(
        "--workers", "2", "--resume"
    )
    assert refusal(*REQUIRED, "--resume", "maybe")[1].startswith(
        "  --resume maybe (command line): must be true or false (default: false)"
    )


def test_mistakes_are_told_together_with_the_nearest_names(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("shard_token: 5\ninvalid-utf8: skip\n")
    lines = refusal(
        *("--config", str(recipe), "--input", "a.txt", "--output", "out", "--validation-fraction", "1"),
        *("--encoding", "gb1830", "--shards-tokens", "9", "--text-key", "", "stray", "--workers=-1", "--document"),
    )
    assert lines[0] == "10 problems in the configuration:"
    expected = {
        "stray (command line)": "not an option",
        "--document (command line)": "a value is missing after it",
        f"--shard_token 5 (recipe {recipe})": "did you mean --shard-tokens?",
        "--shards-tokens 9 (command line)": "did you mean --shard-tokens?",
        "--tokenizer: required, and not given": "the teacher's",
        "--workers -1 (command line)": "must be a whole number >= 0 (default: 0)",
        "--validation-fraction 1 (command line)": "must be a number >= 0 and < 1 (default: 0.01)",
        '--text-key "" (command line)': "must be text (default: text)",
        "--encoding gb1830 (command line)": "Python has no such text codec: did you mean gb18030? (default: utf-8)",
        f"--invalid-utf8 skip (recipe {recipe})": "must be one of error, replace (default: error)",
    }
    for line, (start, part) in zip(sorted(lines[1:]), sorted(expected.items()), strict=True):
        assert line.startswith(f"  {start}") and part in line


@pytest.mark.parametrize("more", [[], ["--resume", "--shard_tokens", "77", "--input", "x", "ü: 'y'"]])
def test_the_printed_configuration_is_a_recipe_for_the_same(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(*more, "--print-config")
    assert ended.value.code == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_options(["--config", str(recipe)], SHARDS) == load(*more)
    assert dump_yaml(load(*more)) == recipe.read_text(encoding="utf-8")


def test_keys_of_a_recipe_have_hyphens_or_underscores_and_the_command_line_wins(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("shard-tokens: 5\ntext_key: body\nresume: true\ninput: [b.txt]\n")
    options = load_options(["--shard_tokens", "6", "--config", str(recipe), *REQUIRED[2:]], SHARDS)
    assert (options.shard_tokens, options.text_key, options.resume, options.input) == (6, "body", True, ["b.txt"])
    assert load("--config", str(recipe), "--text-key", "null").text_key == "text"
    recipe.write_text("shard-tokens: 5\nshard_tokens: 6\n")
    assert refusal("--config", str(recipe), *REQUIRED)[1:] == [
        f"  --shard-tokens (recipe {recipe}): given twice; keep one"
    ]
    recipe.write_text("names: {}\nshards: {tokens: 3}\n- a\n")
    assert "not valid YAML" in refusal("--config", str(recipe), *REQUIRED)[1]
    recipe.write_text("- a\n")
    assert "needs lines such as 'input: VALUE'" in refusal("--config", str(recipe), *REQUIRED)[1]


def test_what_the_options_are_called_is_no_option() -> None:
    assert "--names x (command line): no such option" in refusal(*REQUIRED, "--names", "x")[1]
    assert "names" not in dump_yaml(load())
    options = load()
    assert options.names["shard_tokens"] == "--shard-tokens"
    named = BuildOptions(input=["a"], tokenizer="b", output="c", names=OptionNames(text_key="--data.text_key"))
    assert (named.names["text_key"], named.names["output"]) == ("--data.text_key", "--output")


@pytest.mark.parametrize("words", [["--help"], [*REQUIRED, "--print-config"], [*REQUIRED, "--worker", "1"]])
def test_nothing_heavy_is_loaded_before_the_options_are_read(words: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", str(REPOSITORY / "data_prep" / "build_shards.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    heavy = {"torch", "numpy", "transformers", "tokenizers", "pyarrow", "tqdm"}
    assert "pydantic" in imported and not imported & heavy
    if words == ["--help"]:
        assert done.returncode == 0 and all(f"\n  --{name} " in done.stdout for name in VALUES)
        assert "(text; required)" in done.stdout and "default: 100000000" in done.stdout
    elif "--worker" in words:
        errors = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        assert done.returncode == 2 and done.stdout == ""
        assert errors == [
            "error: 1 problem in the configuration:",
            "  --worker 1 (command line): no such option; did you mean --workers?",
        ]
    else:
        assert done.returncode == 0 and done.stdout == dump_yaml(load())
