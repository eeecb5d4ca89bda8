"""Options that are given and change nothing, beside others that are given."""

from __future__ import annotations

from collections.abc import Container

from megatinybert.config.schema import Section
from megatinybert.config.task import READING, TaskConfig
from megatinybert.tasks.stage_options import has_stage_one


def idle_options(config: TaskConfig, action: str, stages: Container[str], is_scored: bool) -> list[str]:
    """A line for each reason why options that are not at their defaults have no effect.

    action: of the command; what only other actions read is not told, as a recipe is for all of them. stages: those of
    the command. is_scored: of a regression.
    """
    found: dict[str, list[str]] = {}
    if action in ("teacher", "all") and "teacher" not in stages:
        found["as --teacher.model is fine-tuned already"] = _changed("finetune", config.finetune)
    if action in ("augment", "all") and "augment" not in stages:
        found["without --augment.copies"] = [*_changed("augment", config.augment), *_changed("mlm", config.mlm)]
    elif action in ("augment", "all") and "mlm" not in stages:
        found["as the model that proposes words has a masked-LM head"] = _changed("mlm", config.mlm)
    if action in ("one", "all") and not has_stage_one(config):
        # First weights follow the layer map, too.
        learnt = [*_changed("one", config.one, "epochs"), *_changed("objective", config.objective, "layer_map")]
        found["without stage one (--one.epochs 0)"] = learnt
    if action in ("two", "all") and is_scored:
        found["where labels are scores"] = [each for each in _changed("two", config.two) if each == "--two.temperature"]
    if action not in READING:
        found[f"on the action {action}"] = _changed("predict", config.predict)
    return [f"{', '.join(options)}: no effect {why}" for why, options in found.items() if options]


def _changed(name: str, section: Section, *without: str) -> list[str]:
    """The options of a section that are not at their defaults."""
    default = type(section)()
    return [f"--{name}.{key}" for key, value in section if key not in without and value != getattr(default, key)]
