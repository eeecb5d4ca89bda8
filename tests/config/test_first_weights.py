"""Defaults that follow from the student's first weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import ConfigError, dump_yaml, load_config

REQUIRED = ["--teacher.model", "bert", "--data.shards", "shards"]


def settled(config: GeneralConfig) -> tuple[str, float, float]:
    return config.optimizer.name, config.objective.attention_weight, config.data.short_rows


@pytest.mark.parametrize(
    "given, expected",
    [
        ([], ("muon", 0.3, 0.3)),
        (["--student.init", "solved", "--deepspeed", "auto"], ("muon", 0.3, 0.3)),
        # Its stage may divide matrices.
        (["--deepspeed", "zero2-bf16"], ("adamw", 0.3, 0.3)),
        # Kernels of AdamW are asked for.
        (["--optimizer.implementation", "torch"], ("adamw", 0.3, 0.3)),
        (["--student.init", "random"], ("adamw", 1.0, 0.0)),
        (["--student.init", "runs/first"], ("adamw", 1.0, 0.0)),
        (["--objective.name", "mlm"], ("adamw", 1.0, 0.0)),
        (["--optimizer.name", "adamw", "--data.short_rows", "0"], ("adamw", 0.3, 0.0)),
        (["--student.init", "random", "--optimizer.name", "muon", "--objective.attention_weight", "2"], ("muon", 2, 0)),
    ],
)
def test_what_is_given_decides_what_else_is_taken(given: list[str], expected: tuple[str, float, float]) -> None:
    assert settled(load_config([*REQUIRED, *given])) == expected


def test_what_is_taken_is_printed_and_reads_back(tmp_path: Path) -> None:
    for init in ("solved", "random"):
        config = load_config([*REQUIRED, "--student.init", init])
        recipe = tmp_path / f"{init}.yaml"
        recipe.write_text(dump_yaml(config))
        assert f"name: {config.optimizer.name}" in recipe.read_text()
        assert load_config(["--config", str(recipe)]) == config


def test_each_of_several_students_takes_its_own() -> None:
    entries = "[{name: made}, {name: drawn, student: {init: random}}]"
    members = load_config([*REQUIRED, "--students", entries]).students
    assert members
    assert [(each.optimizer.name, each.objective.attention_weight) for each in members] == [("muon", 0.3), ("adamw", 1)]


def test_an_option_without_effect_is_told_beside_the_default_that_is_taken() -> None:
    load_config([*REQUIRED, "--optimizer.muon_factor", "2"])
    for given in (["--student.init", "random"], ["--deepspeed", "zero1"]):
        with pytest.raises(ConfigError, match=r"muon_factor 2 .* beside --optimizer.name adamw \(the default\)"):
            load_config([*REQUIRED, "--optimizer.muon_factor", "2", *given])
