"""The page to look at first: how TensorBoard arranges a run's charts, and what stands beside them as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.dist import World
from megatinybert.engine import arithmetic_dtype
from megatinybert.flops import StepWork, forward_flops, training_flops
from megatinybert.models import Teacher
from megatinybert.monitor import Layout, curve_of, tag_prefix
from megatinybert.objectives.base import Term
from megatinybert.peak import find_peak


def layout(trainees: Mapping[str, Sequence[Term]]) -> Layout:
    """The charts of a run, the most telling first. trainees: {name: terms of its objective}."""
    prefixes = {name: tag_prefix(name, trainees) for name in trainees}

    def tags(name: str) -> list[str]:
        return [f"{prefix}{name}$" for prefix in prefixes.values()]

    groups = list(dict.fromkeys(term.group for terms in trainees.values() for term in terms))
    layers = {
        group: sorted(
            {
                f"{prefixes[name]}{curve_of(f'loss_per_layer/{term.name}')[1]}$"
                for name, terms in trainees.items()
                for term in terms
                if term.group == group != term.name
            }
        )
        for group in groups
    }
    return {
        "losses in training and held out, probe": {
            **{name: tags(f"loss/{name}") for name in ("total", *groups)},
            "probe": tags("held_out/probe"),
        },
        "loss of each layer": {group: found for group, found in layers.items() if found},
        "speed": {
            "tokens per second": ["speed/tokens_per_second$"],
            "model FLOP utilisation": ["speed/model_flops_utilisation$"],
            "seconds of a step": ["time/step$"],
        },
        "optimizer": {
            "gradient norm": tags("optimizer/gradient_norm"),
            "learning rate": ["optimizer/learning_rate$"],
            "loss scale": tags("optimizer/loss_scale"),
            "overflows": tags("optimizer/overflow_count"),
        },
        "data and memory": {
            "epoch": ["windows/epoch$"],
            "padding share": ["windows/padding_share$"],
            "bytes": ["memory/.*"],
        },
    }


def step_work(
    engines: Mapping[str, DeepSpeedEngine], teacher: Teacher, rows: int, length: int, world: World
) -> StepWork:
    """The arithmetic of a step of `rows` windows over all ranks. Where the hardware is not known, its peak is measured.

    Every rank calls it: ranks that share a CPU then measure what is left for each.
    """
    depth = teacher.model.config.num_hidden_layers
    work = {"teacher": (forward_flops(teacher.model.config, depth, rows, length), teacher.model.dtype)}
    for name, engine in engines.items():
        work[name] = training_flops(engine.module.student.config, rows, length), arithmetic_dtype(engine)
    peaks = {dtype: find_peak(dtype, world.device) for dtype in {dtype for _, dtype in work.values()}}
    return StepWork({name: (flops, peaks[dtype]) for name, (flops, dtype) in work.items()}, world.size)


def hardware_text(work: StepWork, world: World) -> str:
    """Markdown: what the utilisation is a share of."""
    ranks = "1 rank" if world.size == 1 else f"{world.size} ranks"
    lines = [f"- {ranks} on {world.device.type}"]
    for name, (flops, peak) in work.parts.items():
        lines.append(f"- {name}: {flops / 1e12:,.3g} TFLOP in a step; the peak of a rank is {peak}")
    return "\n".join(lines)


def config_text(yaml: str) -> str:
    """Markdown: config.yaml as it is."""
    return f"```yaml\n{yaml.rstrip()}\n```"
