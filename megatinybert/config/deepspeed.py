"""The DeepSpeed configuration, checked and completed from the recipe.

One owner per value: the recipe owns batch, clipping, optimizer and schedule; the JSON file owns precision,
ZeRO and communication. No torch is imported here, so that a mistake costs no waiting.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from megatinybert.config.load import ConfigError, resolve_batch
from megatinybert.config.nearest import nearest
from megatinybert.config.shipped import REPOSITORY
from megatinybert.config.training import TrainingConfig

Precision = Literal["fp32", "bf16", "fp16", "bf16-autocast"]

# The keys of DeepSpeed 0.19.8 (runtime/config.py) that mean something in this program.
_FROM_RECIPE = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)
_OTHERS = (
    *("zero_optimization", "bf16", "fp16", "torch_autocast", "data_types"),
    *("communication_data_type", "prescale_gradients", "gradient_predivide_factor", "disable_allgather"),
    *(
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
        "aio",
        "checkpoint",
        "disable_python_gc",
    ),
    *("steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state", "log_level", "timers"),
    *("comms_logger", "flops_profiler"),
)
_OWNED_BY_RECIPE = {"optimizer": "--optimizer.*", "scheduler": "--schedule.*"}


@dataclass(frozen=True)
class DeepSpeedSettings:
    """A checked DeepSpeed configuration.

    raw: what deepspeed.initialize takes, every "auto" filled in.
    stage: ZeRO stage, 0 to 3.
    precision: of the student's weights; "bf16-autocast" means float32 weights, and every engine forward
        under torch.autocast(bfloat16), which DeepSpeed opens itself (its `torch_autocast` block). One opened
        outside the engine will not do: without the block, DeepSpeed switches it off again on CUDA.
    path: the file it was read from.
    reason: why --deepspeed auto took it; "" of a file that was asked for.
    overruled: what --deepspeed auto would take for a new run here, where a checkpoint has another precision; else "".
    """

    raw: dict[str, Any]
    stage: int
    precision: Precision
    path: Path
    reason: str = ""
    overruled: str = ""


def load_ds_config(name: str, config: TrainingConfig, world_size: int) -> DeepSpeedSettings:
    """Read the DeepSpeed configuration `name` (see `find_ds_config`) for a run of `world_size` ranks.

    Raises ConfigError listing every problem of the file, and every value in which it contradicts the recipe.
    """
    path = find_ds_config(name)
    raw = read_ds_config(path)
    problems = [*_unknown_keys(raw)]
    stage, precision = _mode(raw, problems)
    if config.optimizer.name == "muon" and stage > 0:
        problems.append(
            f"zero_optimization.stage {stage} divides matrices over the ranks, and --optimizer.name muon needs whole "
            "ones: take a file of stage 0, such as zero0-autocast, or --optimizer.name adamw"
        )
    micro_batch, accumulation_steps = resolve_batch(config, world_size)
    batch, rows = f"--{config.section}.global_batch", f"--{config.section}.micro_batch"
    options = (batch, rows, f"{batch} / ({rows} x ranks)", "--optimizer.gradient_clipping")
    values = (config.run.global_batch, micro_batch, accumulation_steps, config.optimizer.gradient_clipping)
    for key, option, value in zip(_FROM_RECIPE, options, values, strict=True):
        written = raw.get(key, "auto")
        if written != "auto" and (written != value or isinstance(written, bool)):
            problems.append(f'{key} {json.dumps(written)} is not {option} {value}: write "auto", or make them equal')
        raw[key] = value
    if problems:
        raise ConfigError("\n  ".join([f"--deepspeed {path} cannot be used:", *problems]))
    return DeepSpeedSettings(raw, stage, precision, path)


def find_ds_config(name: str, option: str = "--deepspeed") -> Path:
    """The file meant by --deepspeed, or another option, or ConfigError.

    name: a path from the working directory or the repository, or a file in ds_configs/ without its ending.
    """
    shipped = REPOSITORY / "ds_configs"
    for candidate in (Path(name), REPOSITORY / name, shipped / f"{name}.json"):
        if os.path.isfile(candidate):  # pathlib's raises OSError for a name that is too long
            return candidate
    names = sorted(path.stem for path in shipped.glob("*.json"))
    meant = nearest(Path(name).stem, ["auto", *names])
    hint = f"did you mean {meant}?" if meant else f"shipped ones: {', '.join(names) or 'none found'}"
    raise ConfigError(f"{option} {name}: no such file here, in {REPOSITORY} or in {shipped}; {hint}")


def read_ds_config(path: Path, option: str = "--deepspeed") -> dict[str, Any]:
    """The content of a file that an option names. Raises ConfigError where it is no JSON object."""

    def refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise ValueError(f"given twice: {', '.join(repeated)}")
        return dict(pairs)

    try:
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=refuse_repeated_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{option} {path} cannot be read as JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{option} {path} must hold a JSON object, not {json.dumps(raw)[:40]}")
    return raw


def _unknown_keys(raw: dict[str, Any]) -> Iterable[str]:
    known = [*_FROM_RECIPE, *_OTHERS]
    for key in raw:
        if key in _OWNED_BY_RECIPE:
            yield f"{key}: the recipe owns it; remove the block and use {_OWNED_BY_RECIPE[key]}"
        elif key not in known:
            meant = nearest(key, known)
            hint = f"did you mean {meant}?" if meant else "remove it"
            yield f"{key}: no such key, or one without meaning here; {hint}"


def _mode(raw: dict[str, Any], problems: list[str]) -> tuple[int, Precision]:
    """ZeRO stage and precision; what is wrong with them is added to `problems`."""
    zero, bf16, fp16, autocast = (
        _block(raw, key, problems) for key in ("zero_optimization", "bf16", "fp16", "torch_autocast")
    )
    stage = zero.get("stage", 0)
    if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
        problems.append(f"zero_optimization.stage {json.dumps(stage)}: must be 0, 1, 2 or 3")
        stage = 1
    modes: dict[str, Precision] = {"bf16": "bf16", "fp16": "fp16", "torch_autocast": "bf16-autocast"}
    enabled = []
    for key, block in zip(modes, (bf16, fp16, autocast), strict=True):
        switch = block.get("enabled", False)
        if not isinstance(switch, bool):
            problems.append(f"{key}.enabled {json.dumps(switch)}: must be true or false; this file owns precision")
        elif switch:
            enabled.append(key)
    if len(enabled) > 1:
        problems.append(f"{' and '.join(enabled)} are enabled together: keep one of them")
    precision = modes[enabled[0]] if enabled else "fp32"
    if stage == 0 and precision in ("bf16", "fp16"):
        problems.append(
            f"zero_optimization.stage 0 with {precision} weights: DeepSpeed takes wrong steps there; use"
            " stage 1 or more (such as zero1-bf16), or float32 weights under autocast (zero0-autocast)"
        )
    if precision == "bf16-autocast" and autocast.get("dtype") not in ("bfloat16", "bf16"):
        written = json.dumps(autocast.get("dtype"))
        problems.append(f'torch_autocast.dtype {written}: must be "bfloat16"; float16 needs the fp16 block')
    return stage, precision


def _block(raw: dict[str, Any], key: str, problems: list[str]) -> dict[str, Any]:
    block = raw.get(key, {})
    if isinstance(block, dict):
        return block
    problems.append(f"{key} {json.dumps(block)}: must be an object")
    return {}
