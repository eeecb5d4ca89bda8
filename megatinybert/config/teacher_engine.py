"""The option `teacher.deepspeed`: how ZeRO stage 3 partitions a teacher over the ranks."""

from __future__ import annotations

import json
from typing import Any

from megatinybert.config.deepspeed import find_ds_config, read_ds_config
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import ConfigError
from megatinybert.config.whole_teacher import OPTION

_KEYS = ("zero_optimization", "aio", "log_level", "comms_logger")
_BATCH = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
_PRECISION = ("bf16", "fp16", "torch_autocast", "data_types")


def load_teacher_ds_config(name: str, dtype: str) -> dict[str, Any]:
    """What deepspeed.initialize takes for a teacher. name: as of --deepspeed. dtype: "float32", "float16", "bfloat16".

    Raises ConfigError listing every problem of the file.
    """
    path = find_ds_config(name, OPTION)
    raw = read_ds_config(path, OPTION)
    problems = []
    zero = raw.get("zero_optimization")
    stage = zero.get("stage", 0) if isinstance(zero, dict) else 0
    if stage != 3:
        problems.append(f"zero_optimization.stage {json.dumps(stage)}: must be 3, which alone partitions weights")
    for key in raw:
        if key in _PRECISION:
            problems.append(f"{key}: --teacher.dtype says the teacher's precision; remove the block")
        elif key in _BATCH:
            problems.append(f"{key}: a teacher has the student's batch and is not updated; remove it")
        elif key not in _KEYS:
            meant = nearest(key, _KEYS)
            problems.append(f"{key}: no meaning for a teacher; {f'did you mean {meant}?' if meant else 'remove it'}")
    if problems:
        raise ConfigError("\n  ".join([f"{OPTION} {path} cannot be used:", *problems]))
    # Else DeepSpeed would put a function of its own in place of torch's linear, for the student too.
    raw["zero_optimization"] = {**raw["zero_optimization"], "memory_efficient_linear": False}
    block = {"bfloat16": "bf16", "float16": "fp16"}.get(dtype)
    # The batch is never used, since the engine is not asked for a step, but DeepSpeed wants one.
    return {**raw, "train_micro_batch_size_per_gpu": 1, **({block: {"enabled": True}} if block else {})}
