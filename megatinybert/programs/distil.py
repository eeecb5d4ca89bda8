"""General distillation."""

from __future__ import annotations

from megatinybert.config.general import GeneralConfig
from megatinybert.programs.prepare import prepare
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.training.run import run_stage


def distil(config: GeneralConfig, world: World) -> None:
    """Run, or continue, the distillation that `config` describes. Every rank calls it.

    Raises ValueError listing whatever does not fit together, before the first step; `loop.NonFiniteLoss` later.
    """
    findings = Findings()
    run_stage(prepare(config, world, findings), findings, world)
