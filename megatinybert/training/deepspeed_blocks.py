"""The blocks of a DeepSpeed file, read by DeepSpeed's own models, so that a mistake is named by file and key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepspeed.comm.config import CommsLoggerConfig
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.offload_config import DeepSpeedZeroOffloadOptimizerConfig, DeepSpeedZeroOffloadParamConfig
from pydantic import BaseModel, ValidationError

from megatinybert.config.nearest import nearest
from megatinybert.config.schema import ConfigError

# Those of runtime/config.py, which takes whatever stands there.
_SWITCHES = (
    *("wall_clock_breakdown", "memory_breakdown", "dump_state", "prescale_gradients", "disable_allgather"),
    *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "disable_python_gc"),
)
_MODELS: dict[str, type[BaseModel]] = {
    "zero_optimization": DeepSpeedZeroConfig,
    "bf16": DeepSpeedBF16Config,
    "fp16": DeepSpeedFP16Config,
    "comms_logger": CommsLoggerConfig,
}
_OFFLOAD: dict[str, type[BaseModel]] = {
    "offload_optimizer": DeepSpeedZeroOffloadOptimizerConfig,
    "offload_param": DeepSpeedZeroOffloadParamConfig,
}
_TAGS = ("Ignore", "Warn", "Fail")


def check_blocks(path: Path, raw: Mapping[str, Any]) -> None:
    """Raise ConfigError with every value that DeepSpeed would stumble over. raw: with no "auto" left."""
    problems = [*_switches(raw), *_of_models(raw), *_checkpoint(raw), *_storage(raw)]
    if problems:
        raise ConfigError("\n  ".join([f"--deepspeed {path} cannot be used:", *problems]))


def _switches(raw: Mapping[str, Any]) -> Iterator[str]:
    for key in _SWITCHES:
        if not isinstance(raw.get(key, False), bool):
            yield f"{key} {json.dumps(raw[key])}: must be true or false"


def _of_models(raw: Mapping[str, Any]) -> Iterator[str]:
    for key, model in _MODELS.items():
        block = raw.get(key, {})
        if not isinstance(block, dict):
            yield f"{key} {json.dumps(block)}: must be an object"
            continue
        try:
            model(**block)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                yield _in_words(key, model, detail)
        except (TypeError, ValueError, OverflowError, AssertionError) as error:
            yield f"{key}: {error}"


def _in_words(block: str, model: type[BaseModel], detail: Mapping[str, Any]) -> str:
    place = [str(part) for part in detail["loc"]]
    name = ".".join([block, *place])
    if detail["type"] != "extra_forbidden":
        return f"{name} {json.dumps(detail['input'], default=str)[:40]}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    inner = _OFFLOAD.get(place[0], model) if len(place) > 1 else model
    known = [field.alias or key for key, field in inner.model_fields.items()]
    meant = nearest(place[-1], known)
    return f"{name}: no such key; " + (f"did you mean {meant}?" if meant else "remove it")


def _checkpoint(raw: Mapping[str, Any]) -> Iterator[str]:
    block = raw.get("checkpoint", {})
    written = block.get("tag_validation", "Warn") if isinstance(block, dict) else None
    if str(written).capitalize() not in _TAGS:
        yield f"checkpoint.tag_validation {json.dumps(written)}: must be one of {', '.join(_TAGS)}"


def _storage(raw: Mapping[str, Any]) -> Iterator[str]:
    zero = raw.get("zero_optimization", {})
    for key in _OFFLOAD:
        block = zero.get(key) if isinstance(zero, dict) else None
        if isinstance(block, dict) and block.get("device") == "nvme" and not block.get("nvme_path"):
            yield f"zero_optimization.{key}.device nvme: needs nvme_path, a folder on that disk"
