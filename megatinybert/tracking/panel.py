"""The page to look at first: how TensorBoard arranges a run's charts, and what stands beside them as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from megatinybert.objectives.base import Term
from megatinybert.runtime.dist import World
from megatinybert.tracking.flops import StepWork
from megatinybert.tracking.monitor import Layout, curve_of, tag_prefix


def layout(trainees: Mapping[str, Sequence[Term]], measured: Sequence[str]) -> Layout:
    """The charts of a run, the most telling first.

    trainees: {name: terms of its objective}. measured: tags, beside the losses, of what is measured now and then.
    """
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
        "losses in training and held out, measurements": {
            **{name: tags(f"loss/{name}") for name in ("total", *groups)},
            **{tag.rpartition("/")[2]: tags(tag) for tag in measured},
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


def hardware_text(work: StepWork, world: World) -> str:
    """Markdown: what the utilisation is a share of."""
    ranks = "1 rank" if world.size == 1 else f"{world.size} ranks"
    lines = [f"- {ranks} on {world.device.type}"]
    lines += [f"- {name}: the peak of a rank is {part.peak}" for name, part in work.parts.items()]
    return "\n".join(lines)


def config_text(yaml: str) -> str:
    """Markdown: config.yaml as it is."""
    return f"```yaml\n{yaml.rstrip()}\n```"
