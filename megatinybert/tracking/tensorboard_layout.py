"""TensorBoard's first page: charts and texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from megatinybert.objectives.base import Term
from megatinybert.runtime.counts import counted
from megatinybert.runtime.dist import World
from megatinybert.tracking.flops import StepWork
from megatinybert.tracking.measurements import CATEGORIES, LAYERS, LOSSES, MEASUREMENTS, place_of, tag_prefix
from megatinybert.tracking.monitor import Layout


def layout(trainees: Mapping[str, Sequence[Term]], measured: Sequence[str]) -> Layout:
    """The charts of a run, the most telling first.

    trainees: {name: terms of its objective}. measured: tags, beside the losses, of what is measured now and then.
    """
    page: dict[str, dict[str, list[str]]] = {category: {} for category in CATEGORIES}
    for tag in _tags(trainees, measured):
        place = place_of(tag)
        if place.chart:
            patterns = page[place.category].setdefault(place.chart, [])
            patterns += [f"{place.tag}$"] if f"{place.tag}$" not in patterns else []
    return {category: charts for category, charts in page.items() if charts}


def _tags(trainees: Mapping[str, Sequence[Term]], measured: Sequence[str]) -> list[str]:
    """The tags that a run may log, in the order of the page."""
    prefixes = {name: tag_prefix(name, trainees) for name in trainees}
    groups = dict.fromkeys(term.group for terms in trainees.values() for term in terms)
    tags = [f"{prefix}loss/total" for prefix in prefixes.values()]
    for group in groups:
        of_group = [name for name, terms in trainees.items() if group in {term.group for term in terms}]
        tags += [f"{prefixes[name]}loss/{group}" for name in of_group]
    tags += [f"{prefix}{tag}" for tag in measured for prefix in prefixes.values()]
    tags += [
        f"{prefixes[name]}loss_per_layer/{term.name}"
        for name, terms in trainees.items()
        for term in terms
        if term.name != term.group
    ]
    for each in MEASUREMENTS:
        if each.category not in (LOSSES, LAYERS):  # which depend on the objective
            tags += [f"{prefix}{each.tag}" for prefix in prefixes.values()] if each.per_trainee else [each.tag]
    return tags


def hardware_text(work: StepWork, world: World) -> str:
    """Markdown: what the utilisation is a share of."""
    lines = [f"- {counted(world.size, 'rank')} on {world.device.type}"]
    lines += [f"- {name}: the peak of a rank is {part.peak}" for name, part in work.parts.items()]
    return "\n".join(lines)


def config_text(yaml: str) -> str:
    """Markdown: config.yaml as it is."""
    return f"```yaml\n{yaml.rstrip()}\n```"
