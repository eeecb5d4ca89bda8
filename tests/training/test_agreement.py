"""Ranks that differ are refused before anything is opened, or before the first step, and told by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from megatinybert.config.load import load_config
from megatinybert.runtime.dist import World
from megatinybert.training import agreement
from megatinybert.training.agreement import check_same_facts, check_same_program, code_hash, differences
from tests.helpers.messages import assert_says
from tests.helpers.processes import GENERAL, exit_codes, start_ranks
from tests.helpers.toys import recipe
from tests.helpers.warm_python import warm_python


def test_differences_name_thing_ranks_hosts_and_all_values() -> None:
    same = {"run.seed": 0, "same": [1, 2]}
    told = [("a", {**same, "run.max_steps": 4}), ("a", {**same, "run.max_steps": 4}), ("b", same), ("c", same)]
    assert differences(told) == ["run.max_steps: 4 on ranks 0, 1 (a); none on ranks 2, 3 (b, c)"]
    assert differences(told[:2]) == []
    [line] = differences([("a", {"x": True}), ("b", {"x": 1}), ("c", {"x": "1"})])  # not equal, though Python says so
    assert line == "x: true on rank 0 (a); 1 on rank 1 (b); 1 on rank 2 (c)"


def test_the_hash_of_code_sees_content_and_names_but_nothing_compiled(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("x = 1\n")
    before = code_hash(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_bytes(b"1")
    assert code_hash(tmp_path) == before
    (tmp_path / "inner" / "a.py").write_text("x = 2\n")
    changed = code_hash(tmp_path)
    (tmp_path / "inner" / "a.py").rename(tmp_path / "inner" / "b.py")
    assert len({before, changed, code_hash(tmp_path)}) == 3


def test_options_deepspeed_file_versions_and_code_are_compared(
    toy_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 of two, of which the other has an older torch, other code, another ZeRO stage and another seed."""
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    config = load_config(recipe(toy_inputs, deepspeed=tmp_path / "zero.json"))

    def other(told: list[object], own: object) -> None:
        told[:] = [own, own]
        if isinstance(own, tuple) and "run.seed" in own[1]:
            stage = "DeepSpeed file: zero_optimization.stage"
            assert own[1][stage] == 2
            code = "code of megatinybert (SHA-256 of its files)"
            told[1] = ("node-2", {**own[1], "run.seed": 8, stage: 1, "version of torch": "2.0", code: "0" * 16})

    monkeypatch.setattr(torch.distributed, "all_gather_object", other)
    with pytest.raises(ValueError) as caught:
        check_same_program(config, World(0, 2, torch.device("cpu")))
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert_says(
        str(caught.value), "run.seed: 0 on rank 0 (", "8 on rank 1 (node-2)", "stage: 2 on", "torch: ", "2.0 on"
    )


def test_clocks_that_differ_and_another_commit_are_warned_of(
    toy_inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def other(told: list[object], own: object) -> None:
        told[:] = [own, own + 60] if isinstance(own, float) else [own, ("node-2", own[1])]  # type: ignore[index]
        if isinstance(own, tuple) and "git commit" in own[1]:
            told[1] = ("node-2", {"git commit": "abc+changes"})

    monkeypatch.setattr(torch.distributed, "all_gather_object", other)
    check_same_program(load_config(recipe(toy_inputs)), World(0, 2, torch.device("cpu")))
    said = capfd.readouterr().err
    assert_says(
        said, "warning: the clock of node-2 is 60 s ahead of that of", "warning: git commit: ", "abc+changes on"
    )
    monkeypatch.setattr(agreement, "git_hash", lambda: "abc+changes")
    monkeypatch.setattr(agreement, "_CLOCKS", 61)
    check_same_program(load_config(recipe(toy_inputs)), World(0, 2, torch.device("cpu")))
    assert capfd.readouterr().err == ""


def test_another_number_of_steps_and_zero_stage_on_one_rank(toy_inputs: Path, tmp_path: Path) -> None:
    """Where they differ in these, ranks would wait for one another."""
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run"})
    others = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "run.max_steps": 8, "deepspeed": "zero2"})
    ranks = start_ranks(2, GENERAL, options, tmp_path, others, python=warm_python())
    assert exit_codes(ranks, seconds=60) == [2, 2]
    for rank, start in enumerate(("error: ", "error on rank 1 (")):
        log = (tmp_path / f"rank-{rank}.log").read_text().removeprefix("loading PyTorch and DeepSpeed\n")
        assert log.startswith(start) and log.count("error") == 1 and "Traceback" not in log, log
        assert_says(log, "run.max_steps: 4 on rank 0", "8 on rank 1", "deepspeed: zero1 on rank 0", "zero2 on rank 1")
        assert_says(log, "zero_optimization.stage: 1 on rank 0")


def test_other_weights_on_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"teacher checksum": "0a", "run.seed": 0}

    def other(told: list[object], own: object) -> None:
        told[:] = [own, ("node-2", {**facts, "teacher checksum": "0b"}) if isinstance(own, tuple) else own]

    monkeypatch.setattr(torch.distributed, "all_gather_object", other)
    with pytest.raises(ValueError, match=r"not run the same, .*:\n  teacher checksum: 0a on rank 0 .*; 0b on rank 1"):
        check_same_facts(facts, World(0, 2, torch.device("cpu")))
    check_same_facts(facts, World(0, 1, torch.device("cpu")))
