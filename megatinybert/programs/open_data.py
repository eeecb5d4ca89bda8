"""The text of a run: made into shards where it has to be, opened, and checked against the models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from megatinybert.config.data import DataConfig
from megatinybert.config.general import GeneralConfig
from megatinybert.corpus.cache import shard_text
from megatinybert.corpus.shards import open_splits
from megatinybert.programs.open_models import Models
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.samples.batches import TrainingData
from megatinybert.samples.open import HeldOut, Samples, open_windows
from megatinybert.samples.position_skips import Skipping, Skips
from megatinybert.training.checks import check_text, check_token_ids


def with_shards(config: GeneralConfig, tokenizer: str, world: World, findings: Findings) -> DataConfig | None:
    """`config.data` with its text made into shards by rank 0; None where rank 0 has found a failure. Collective."""
    data = config.data
    if data.text is None:
        return data
    folders = world.first(lambda: None if findings.failed else shard_text(data, tokenizer))
    for folder in folders or []:
        if not Path(folder).is_dir():
            raise ValueError(
                f"--data.cache {data.cache} is not the same folder for all ranks ({folder} is missing here): name one "
                "on a file system that all machines share"
            )
    return data.model_copy(update={"shards": folders}) if folders else None


def look_at_shards(paths: Sequence[str], findings: Findings) -> list[Finding]:
    """A finding for each of them that can be opened; each that cannot is a failure of its own."""
    opened = {path: findings.attempt("shards", open_splits, path) for path in paths}
    whole = {path: corpus for path, corpus in opened.items() if corpus}
    return [Finding("ok", "shards", f"{path}: {corpus.n_tokens:,} tokens") for path, corpus in whole.items()]


def open_data(
    config: GeneralConfig, sources: DataConfig | None, models: Models, findings: Findings
) -> tuple[Samples, HeldOut] | None:
    """sources: `config.data` with shards."""
    reader, whole = models.reader, models.whole
    paths = (sources or config.data).shards or []
    opened = look_at_shards(paths, findings)
    if not (sources and reader and whole and len(opened) == len(paths)):
        findings.add(*opened)
        return None
    segments = min(shape.type_vocab_size for shape in models.shapes)
    pairs = config.data.pair_probability if segments > 1 else 0.0
    seed, special, fingerprint = config.run.seed, reader.special, reader.fingerprint
    data = findings.attempt("shards", open_windows, sources, seed, special, whole.vocab_size, fingerprint, pairs)
    sampled = findings.attempt("shards", check_token_ids, data[0]) if data else None
    findings.add(
        *(opened if sampled else []),
        *([sampled] if sampled else []),
        *(check_text(sources.shards or []) if data else []),
    )
    return data


def skipping(config: GeneralConfig, windows: Samples, models: Models, findings: Findings) -> TrainingData | None:
    """The windows, some with positions that skip ahead where that is asked for; None where there is nowhere to."""
    share, length = config.data.position_skips, config.data.sequence_length
    if not share:
        return windows
    skips = findings.attempt("positions", Skips, config.run.seed, share, length, models.positions)
    return Skipping(windows, skips) if skips else None
