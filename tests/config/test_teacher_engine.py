"""What may be said of a partitioned teacher, and what cannot be had with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.load import ConfigError, GeneralConfig, load_config
from megatinybert.config.teacher_engine import load_teacher_ds_config
from tests.helpers.toys import REPOSITORY


def test_the_shipped_file_says_no_more_than_it_may() -> None:
    raw = load_teacher_ds_config("teacher-zero3", "bfloat16")
    assert raw["zero_optimization"]["stage"] == 3 and raw["bf16"] == {"enabled": True}
    assert "bf16" not in load_teacher_ds_config("teacher-zero3", "float32")
    assert load_teacher_ds_config("teacher-zero3", "float16")["fp16"] == {"enabled": True}
    assert "`teacher-zero3`" in (REPOSITORY / "ds_configs" / "README.md").read_text()


def test_offloading_passes_through(tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}))
    raw = load_teacher_ds_config(str(file), "float32")
    expected = {"stage": 3, "offload_param": {"device": "cpu"}, "memory_efficient_linear": False}
    assert raw["zero_optimization"] == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage 2: must be 3"),
        ({}, "zero_optimization.stage 0: must be 3"),
        ({"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}, "bf16: --teacher.dtype says"),
        ({"zero_optimization": {"stage": 3}, "gradient_clipping": "auto"}, "gradient_clipping: a teacher has"),
        ({"zero_optimization": {"stage": 3}, "optimizer": {}}, "optimizer: no meaning for a teacher"),
        ({"zero_optimisation": {"stage": 3}}, "did you mean zero_optimization?"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        load_teacher_ds_config(str(file), "float32")
    assert str(caught.value).startswith(f"--teacher.deepspeed {file} cannot be used:") and said in str(caught.value)


def config(**more: object) -> GeneralConfig:
    options = {"teacher.model": "org/t", "data.shards": "s/d", "teacher.deepspeed": "teacher-zero3", **more}
    return load_config([word for name, value in options.items() for word in (f"--{name}", str(value))])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "--student.init solved reads the teacher's weights"),
        ({"student.init": "teacher"}, "--student.init teacher reads the whole teacher"),
        ({"student.init": "random", "teacher.quantize": "int8"}, "--teacher.quantize int8 needs whole weights"),
        ({"student.init": "random", "run.compile": "always"}, "--run.compile always: a teacher in parts"),
    ],
)
def test_what_needs_a_whole_teacher_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**more)
    assert "--teacher.deepspeed partitions the teacher over the ranks, so" in str(caught.value)
    assert said in str(caught.value)


def test_what_does_not_is_taken() -> None:
    assert config(**{"student.init": "random"}).teacher.deepspeed == "teacher-zero3"
