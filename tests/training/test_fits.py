"""What is said of signals, embeddings and networks, worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from megatinybert.config.deepspeed import DeepSpeedSettings, Precision
from megatinybert.config.load import ConfigError, load_config
from megatinybert.runtime.dist import World
from megatinybert.training import fits
from megatinybert.training.fits import check_embeddings, check_memory, check_network, on_kept_signals

CPU = torch.device("cpu")


def test_signals_of_layers_are_larger_than_what_a_pass_saves() -> None:
    """BERT-base: 37 tensors of 128 x 768 x 2 bytes a window; 12 x (14.2 + 0.4) million operations a token."""
    said = on_kept_signals(BertConfig(), 12, 1_000_000, 128)
    assert said.level == "ok"
    assert "are 7.27 MB a window in 16 bits, 7.27 TB in all" in said.text
    assert said.text.endswith("where the teacher runs at more than 3.1 TFLOP/s")  # 22.3e9 / 7.27e-3 s


def test_the_option_of_tasks_is_explained() -> None:
    said = r"--data.teacher_cache always .*: no such option here; .*--two.teacher_cache keeps"
    with pytest.raises(ConfigError, match=said):
        load_config(["--teacher.model", "org/t", "--data.shards", "s/d", "--data.teacher_cache", "always"])


def test_rows_far_down_that_are_not_finite_are_named() -> None:
    words = torch.zeros(9000, 2)
    words[4096, 1], words[8999, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="its embeddings of token 4096, 8999 are not finite"):
        check_embeddings(words, "org/t")


def settings_of(stage: int, precision: Precision = "fp32") -> DeepSpeedSettings:
    return DeepSpeedSettings({}, stage, precision, Path(f"ds_configs/zero{stage}.json"))


@pytest.mark.parametrize(
    ("stage", "precision", "times", "file"),
    [(1, "fp32", "1.5", "zero0"), (2, "bf16", "1.5", "zero0-autocast"), (3, "bf16-autocast", "2", "zero0-autocast")],
)
def test_the_stage_that_sends_least_is_named(stage: int, precision: Precision, times: str, file: str) -> None:
    """16 bytes a weight with AdamW, of whatever the stage splits."""
    world = World(0, 2, CPU, machines=("one", "two"))
    [said] = check_network(1_000_000, settings_of(stage, precision), "adamw", 1, world)
    assert (said.level, said.subject) == ("warn", "network")
    assert said.text == (
        f"ZeRO {stage} (zero{stage}.json) sends up to {times} times the bytes of ZeRO 0 in each step, at which a rank "
        f"holds 16 MB of weights, gradient and optimizer: on a slow network --deepspeed {file} is fastest"
    )


def test_one_machine_is_no_network() -> None:
    [said] = check_network(1_000_000, settings_of(1), "adamw", 2, World(0, 2, CPU))
    assert said.level == "ok"


@pytest.mark.parametrize(
    ("stage", "size", "device", "free"),
    [(0, 2, "cpu", 1e9), (1, 1, "cpu", 1e9), (1, 2, "cuda", 1e9), (1, 2, "cpu", 3e8)],
)
def test_nothing_is_said_where_it_does_not_help(
    stage: int, size: int, device: str, free: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At stage 0, on one rank, with GPUs, and where 2 x 16 MB are more than a tenth of what is free."""
    monkeypatch.setattr(fits, "available_memory", lambda: int(free))
    world = World(0, size, torch.device(device), machines=("one", "two"))
    assert check_network(1_000_000, settings_of(stage), "adamw", 2, world) == []


@pytest.mark.parametrize(
    ("rows", "share", "free", "held", "said"),
    [
        (32, 96, 1000, 0, ""),
        (32, 96, 300, 0, "needs 320 MB at the least, and 300 MB are free: lower --run.micro_batch, to 12 or less"),
        (32, 96, 310, 20, "290 MB are free beside the 20 MB of weights, optimizers and their copies: lower --run."),
        (32, 96, 15, 0, "and 15 MB are free: lower --run.micro_batch, to 1 or less"),
        (32, 96, 5, 0, "and 5 MB are free: take less, or shorter windows"),
        (
            1,
            96,
            5,
            0,
            "a micro batch of 1 row of 1000 tokens on 1 rank needs 10 MB at the least, and 5 MB are free: take",
        ),
        (32, 96, 20, 20, "weights and optimizers need 20 MB at the least, and 20 MB are free: take less"),
    ],
)
def test_a_micro_batch_is_advised_where_one_fits(
    rows: int, share: int, free: int, held: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB a row of 1000 tokens: 2 bytes of 5000 values each, 10 x 100 + 2 x 1800 of the student and 4 x 100 of both
    models. The batch advised divides the share.
    """
    shape = BertConfig(num_hidden_layers=1, hidden_size=100, intermediate_size=1800, num_attention_heads=1)
    monkeypatch.setattr(fits, "available_memory", lambda: free * 10**6)
    found = check_memory(shape, None, rows, share, 1, 1000, held * 10**6, "take less")
    assert len(found) == bool(said) and all(said in each.text for each in found)
