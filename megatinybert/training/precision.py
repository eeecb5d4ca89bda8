"""The DeepSpeed file of a run, and what `--deepspeed auto` takes."""

from __future__ import annotations

import dataclasses

from megatinybert.config.deepspeed import DeepSpeedSettings, load_ds_config
from megatinybert.config.shipped import REPOSITORY
from megatinybert.config.training import TrainingConfig
from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.checkpoints.which import find_checkpoint
from megatinybert.training.deepspeed_blocks import check_blocks

_ENDINGS = {"fp32": "", "bf16-autocast": "-autocast"}  # of the files that auto takes, by precision


def settle_settings(config: TrainingConfig, ranks: int, native: bool, world: World) -> DeepSpeedSettings:
    """The DeepSpeed settings of a run of `ranks` ranks, of the same precision on every rank of `world`, which all call.

    native: whether this rank's device computes bfloat16 natively (`hardware.computes_bfloat16`). --deepspeed auto takes
    bf16 autocast where this holds for all, else float32; but where there is a checkpoint to continue, what that has.
    Raises ConfigError for a file that cannot be used.
    """
    if config.deepspeed != "auto":
        settings = load_ds_config(config.deepspeed, config, ranks)
        check_blocks(settings.path, settings.raw)
        return settings
    lacking = world.count(not native)
    precision = "fp32" if lacking else "bf16-autocast"
    reason = _reason(native, lacking, world)
    overruled = ""
    checkpoint, _ = find_checkpoint(config.run, checksums=False)
    recorded = read_state(checkpoint)[1].get("precision") if checkpoint else None
    if recorded in _ENDINGS:  # another one is of a file that was asked for, and refused with the rest that differs
        if recorded != precision:
            overruled = (
                f"{checkpoint} was trained in {recorded}, and the run continues so; a new one would take {precision} "
                f"({reason})"
            )
        precision, reason = recorded, "as in the checkpoint"
    elif precision == "bf16-autocast":
        reason += f"; --deepspeed {_name('fp32', config)} for float32"
    file = REPOSITORY / "ds_configs" / f"{_name(precision, config)}.json"  # the shipped one, wherever the run starts
    return dataclasses.replace(load_ds_config(str(file), config, ranks), reason=reason, overruled=overruled)


def _reason(native: bool, lacking: int, world: World) -> str:
    """lacking: how many ranks do not compute bfloat16 natively."""
    device = "GPU" if world.device.type == "cuda" else "CPU"
    if not native:
        return f"this {device} does not compute bfloat16 natively"
    if lacking:
        return f"{lacking} of {world.size} ranks do not compute bfloat16 natively"
    return f"this {device} computes bfloat16 natively"


def _name(precision: str, config: TrainingConfig) -> str:
    return f"zero{config.auto_stage}{_ENDINGS[precision]}"
