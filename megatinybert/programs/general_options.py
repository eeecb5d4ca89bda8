"""What options decide of a general distillation, and whether a run is continued by others. Imports no torch."""

from __future__ import annotations

from typing import Any

from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.corpus.text_files import TextFile, in_what_they_differ
from megatinybert.models.shapes import shape_in_files
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.checkpoints.which import find_checkpoint
from megatinybert.training.other_text import FILES, NAMED, files_now, text_in_words
from megatinybert.training.same_run import SHAPE, check_recorded, facts_of_first_weights


def check_begun(config: GeneralConfig) -> None:
    """Raise ValueError where the run to be continued has other options than `config`, or another text, as far as it is
    seen early: of several students the first is looked at. What else differs is told later.
    """
    if config.run.resume == "never" or (config.students and config.run.resume != "auto"):
        return
    first = next(iter(members_of(config).values()), config)
    found, _ = find_checkpoint(first.run, checksums=False)
    if not found:
        return
    recorded, facts = read_state(found)[1], decided_by_options(first)
    there = recorded.get(FILES) or []
    now = files_now(config.data, there) if there else []
    if now and any(in_what_they_differ([TextFile(*each) for each in there], now)):
        facts |= {FILES: now, "corpus checksum": None}
    check_recorded(found, recorded, facts)


def facts_of_options(config: GeneralConfig) -> dict[str, Any]:
    """What decides the result of a general distillation and is known before the text is opened, by name."""
    facts: dict[str, Any] = {
        "teacher.quantize": config.teacher.quantize,
        "data.sequence_length": config.data.sequence_length,
        "data.pair_probability": config.data.pair_probability,
        "data.position_skips": config.data.position_skips,
        "data.shuffle_block": config.data.shuffle_block,
        "objective": config.objective.model_dump(mode="json", exclude={"train_projection"}),  # training_facts has it
        NAMED: text_in_words(config.data),
        **facts_of_first_weights(config.student),
    }
    if config.data.short_rows:
        facts["data.short_rows"] = config.data.short_rows
    if config.objective.name == "mlm":
        facts["objective"] = {"name": "mlm", **config.mlm.model_dump(mode="json")}
    return facts


def decided_by_options(config: GeneralConfig) -> dict[str, Any]:
    """These, and what any run records of its options and the shape of its student."""
    run, shape = config.run, shape_in_files(config.student.config)
    facts = {**facts_of_options(config), "run.seed": run.seed, "optimizer.name": config.optimizer.name}
    if run.global_batch:  # else as the checkpoint has it
        facts["run.global_batch"] = run.global_batch
    return facts | ({SHAPE: shape} if shape else {})
