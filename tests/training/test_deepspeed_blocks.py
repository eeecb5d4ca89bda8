"""Mistakes inside a DeepSpeed file's blocks are named by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.schema import ConfigError
from megatinybert.training.deepspeed_blocks import check_blocks
from tests.helpers.messages import assert_says

FILE = Path("file.json")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"zero_optimization": {"stage": 1, "overlap_com": True}}, ["overlap_com", "did you mean overlap_comm?"]),
        ({"zero_optimization": {"offload_optimizer": {"devise": "cpu"}}}, ["offload_optimizer.devise", "mean device?"]),
        ({"zero_optimization": {"offload_param": {"device": "nvme"}}}, ["offload_param.device nvme", "nvme_path"]),
        ({"zero_optimization": {"reduce_bucket_size": "many"}}, ["zero_optimization.reduce_bucket_size", "many"]),
        ({"fp16": {"enabled": True, "los_scale": 1}}, ["fp16.los_scale", "did you mean loss_scale?"]),
        ({"fp16": {"enabled": True, "loss_scale": 10**400}}, ["fp16: int too large to convert to float"]),
        ({"wall_clock_breakdown": "maybe"}, ['wall_clock_breakdown "maybe"', "true or false"]),
        ({"checkpoint": {"tag_validation": "sometimes"}}, ["checkpoint.tag_validation", "Ignore, Warn, Fail"]),
        ({"comms_logger": 3}, ["comms_logger 3", "an object"]),
    ],
)
def test_mistakes(raw: dict[str, Any], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_blocks(FILE, raw)
    assert_says(str(caught.value), "--deepspeed file.json", *expected)
    assert "http" not in str(caught.value) and "validation error" not in str(caught.value)


def test_what_is_right_passes() -> None:
    zero = {"stage": 2, "overlap_comm": True, "offload_optimizer": {"device": "nvme", "nvme_path": "/tmp"}}
    check_blocks(FILE, {"zero_optimization": zero, "bf16": {"enabled": True}, "checkpoint": {"tag_validation": "FAIL"}})
