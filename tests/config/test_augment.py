"""The options of augment.py: names, flags, recipes, and mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.augment import AUGMENT, AugmentOptions
from megatinybert.config.load import ConfigError, dump_yaml, load_options
from tests.helpers.toys import REPOSITORY

REQUIRED = ["--task", "custom", "--data-dir", "data", "--model", "bert", "--output", "out.jsonl"]
# Every option of the command by its name there, with a value and what that becomes.
VALUES: dict[str, tuple[list[str], Any]] = {
    "task": (["sst-2"], "sst-2"),
    "data-dir": (["data/SST-2"], "data/SST-2"),
    "labels": (["good", "so so"], ["good", "so so"]),
    "kind": (["regression"], "regression"),
    "encoding": (["gb18030"], "gb18030"),
    "columns": (["id", "body", "mark"], ["id", "body", "mark"]),
    "text-a-column": (["body"], "body"),
    "text-b-column": (["title"], "title"),
    "label-column": (["mark"], "mark"),
    "drop-labels": (["-"], ["-"]),
    "model": (["bert"], "bert"),
    "tokenizer": (["other"], "other"),
    "output": (["a/b.jsonl"], Path("a/b.jsonl")),
    "copies": (["7"], 7),
    "probability": (["0.5"], 0.5),
    "candidates": (["4"], 4),
    "vectors": (["glove.txt"], Path("glove.txt")),
    "segmenter": (["jieba"], "jieba"),
    "rows": (["10"], 10),
    "seed": (["2"], 2),
    "workers": (["3"], 3),
    "batch-tokens": (["64"], 64),
    "device": (["cpu"], "cpu"),
    "skip-bad-rows": ([], True),
    "resume": ([], True),
}


def load(*words: str) -> AugmentOptions:
    return load_options([*REQUIRED, *words], AUGMENT)


def refusal(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_options(list(words), AUGMENT)
    return str(caught.value).splitlines()


def test_every_option_has_its_name_and_may_have_underscores() -> None:
    words = [word for name, (given, _) in VALUES.items() for word in (f"--{name}", *given)]
    options = load_options(words, AUGMENT)
    assert options.model_dump() == {name.replace("-", "_"): value for name, (_, value) in VALUES.items()}
    underscores = [f"--{word[2:].replace('-', '_')}" if word.startswith("--") else word for word in words]
    assert underscores != words and load_options(underscores, AUGMENT) == options


def test_defaults() -> None:
    options = load()
    assert (options.copies, options.vectors, options.batch_tokens, options.labels) == (None, None, None, None)
    assert (options.probability, options.candidates, options.rows, options.seed) == (0.4, 15, 0, 0)
    assert (options.kind, options.segmenter, options.device) == ("auto", "none", "auto")
    assert not options.skip_bad_rows and not options.resume and options.reader == "bert"
    assert load("--tokenizer", "t").reader == "t"


def test_mistakes_are_told_together_with_the_nearest_names() -> None:
    lines = refusal(
        *("--task", "sst-3", "--data-dr", "x", "--output", "out.tsv", "--copies", "0", "--probability", "0"),
        *("--candidates", "0", "--rows", "-1", "--seed", "true", "--device", "gpu", "--batch-tokens", "x"),
    )
    assert lines[0] == "11 problems in the configuration:"
    expected = {
        "--task sst-3 (command line)": "no such task. Did you mean sst-2?",
        "--data-dr x (command line)": "did you mean --data-dir?",
        "--model: required, and not given": "masked-LM head",
        "--output out.tsv (command line)": "its name must end in .jsonl",
        "--copies 0 (command line)": "must be a whole number >= 1 or null (default: null)",
        "--probability 0 (command line)": "must be a number > 0 and <= 1 (default: 0.4)",
        "--candidates 0 (command line)": "must be a whole number >= 1 (default: 15)",
        "--rows -1 (command line)": "must be a whole number >= 0 (default: 0)",
        "--seed true (command line)": "must be a whole number >= 0 (default: 0)",
        "--device gpu (command line)": "must be one of auto, cpu, cuda (default: auto)",
        "--batch-tokens x (command line)": "must be a whole number >= 1 or null",
    }
    for line, (start, part) in zip(sorted(lines[1:]), sorted(expected.items()), strict=True):
        assert line.startswith(f"  {start}") and part in line


@pytest.mark.parametrize(
    "more", [[], ["--labels", "good", "so so", "--vectors", "g.txt", "--skip-bad-rows", "--copies", "3"]]
)
def test_the_printed_configuration_is_a_recipe_for_the_same(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(*more, "--print-config")
    assert ended.value.code == 0
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(capsys.readouterr().out, encoding="utf-8")
    assert load_options(["--config", str(recipe)], AUGMENT) == load(*more)


@pytest.mark.parametrize("words", [["--help"], [*REQUIRED, "--print-config"], [*REQUIRED, "--row", "1"]])
def test_nothing_heavy_is_loaded_before_the_options_are_read(words: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", str(REPOSITORY / "data_prep" / "augment.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    heavy = {"torch", "numpy", "transformers", "tokenizers", "pyarrow", "tqdm"}
    assert "pydantic" in imported and not imported & heavy
    if words == ["--help"]:
        assert done.returncode == 0 and all(f"\n  --{name} " in done.stdout for name in VALUES)
        assert "cola 30" in done.stdout and "1,024 on cpu" in done.stdout
    elif "--row" in words:
        assert done.returncode == 2 and done.stdout == ""
        assert "error: 1 problem in the configuration:\n" in done.stderr and "did you mean --rows?" in done.stderr
    else:
        assert done.returncode == 0 and done.stdout == dump_yaml(load())
