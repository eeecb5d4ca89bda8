"""Everything a run reads, opened and checked before the first step. The doctor looks with the same eyes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed
import transformers
from transformers import BertConfig

from megatinybert.config.deepspeed import DeepSpeedSettings, load_ds_config
from megatinybert.config.general import DataConfig, GeneralConfig
from megatinybert.config.load import resolve_batch
from megatinybert.corpus.cache import shard_text
from megatinybert.corpus.shards import open_corpus
from megatinybert.models.load import Teacher, teacher_dtype
from megatinybert.models.quantize import check_quantized
from megatinybert.programs.prepare_models import Models, taught_models, tokenizer_name, untaught_models
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings, refusal
from megatinybert.runtime.versions import check_versions
from megatinybert.samples.batches import HeldOutData, TrainingData
from megatinybert.samples.masking import Masked, MaskedHeldOut, Masking
from megatinybert.samples.open import HeldOut, Samples, open_windows
from megatinybert.samples.skips import Skipping, Skips
from megatinybert.tracking.attention_maps import MapChoice
from megatinybert.training import checkpoint
from megatinybert.training.checks import check_corpus, check_precision, check_schedule, check_threads, check_token_ids
from megatinybert.training.choices import check_choices
from megatinybert.training.disk import check_disk, check_output_folder
from megatinybert.training.engine import dry_batch, rank_micro_batches
from megatinybert.training.resume import facts_of, starting_point
from megatinybert.training.trainee import Trainee


@dataclass(frozen=True)
class Inputs:
    """What a run starts from.

    teacher_config, teacher: None of an objective without a teacher. maps: the attention maps to draw. windows,
    held_out: of the text; data, held_out_data: the same as the models read them, masked where tokens are to be guessed.
    positions: how many all models have. start: the checkpoint to continue from; None: anew.
    """

    settings: DeepSpeedSettings
    micro_batch: int
    max_steps: int
    teacher_config: BertConfig | None
    teacher: Teacher | None
    trainee: Trainee
    maps: MapChoice | None
    tokenizer: str
    windows: Samples
    held_out: HeldOut
    data: TrainingData
    held_out_data: HeldOutData
    positions: int
    facts: dict[str, Any]
    start: Path | None

    @property
    def first_step(self) -> int:
        """Steps that are already done."""
        return checkpoint.read_state(self.start)[0] if self.start else 0

    @property
    def recorded(self) -> dict[str, Any]:
        """Facts of the checkpoint to continue from; {} in a new run."""
        return checkpoint.read_state(self.start)[1] if self.start else {}


def prepare(config: GeneralConfig, world: World, findings: Findings) -> Inputs | None:
    """Open what `config` names. What is found is added to `findings`; None where some of it is a failure.

    Whatever can be looked at without the things that failed is looked at, so that all mistakes are told at once.
    """
    local_ranks = int(os.environ.get("LOCAL_SIZE", world.size))  # which the launcher sets
    findings.add(*check_versions(), check_threads(local_ranks, world.device))
    settings = _read_settings(config, world, findings)
    taught = config.objective.name != "mlm"
    tokenizer = findings.attempt("tokenizer", tokenizer_name, config) or ""
    models = (taught_models if taught else untaught_models)(config, tokenizer, world, findings)
    reader, trainee, teacher = models.reader, models.trainee, models.teacher
    output = check_output_folder(Path(config.run.output_dir))
    findings.add(*([output] if output else []))
    if settings:
        dtype = teacher_dtype(config.teacher.dtype, world.device, config.teacher.quantize) if taught else None
        findings.add(*check_precision(settings, dtype, world.device))
        findings.add(*check_quantized(config.teacher.quantize, config.run.compile))
        if trainee and not output:
            parameters = sum(parameter.numel() for parameter in trainee.parameters())
            findings.add(check_disk(config, parameters, settings))
    # Last, since to make shards of text may take long; called by all ranks, whatever they have found.
    sources = findings.attempt("text", _with_shards, config, tokenizer, world, findings)
    text = _open_data(config, sources, models, findings)
    if not (settings and reader and trainee and text and (teacher or not taught)):
        return None

    windows, held_out = text
    data: TrainingData = windows
    held_out_data: HeldOutData = held_out
    if config.data.position_skips:
        share, length = config.data.position_skips, config.data.sequence_length
        skips = findings.attempt("positions", Skips, config.run.seed, share, length, models.positions)
        data = Skipping(windows, skips) if skips else data
    if not taught:
        masking = Masking(reader.tokenizer, config.run.seed, config.mlm.probability)
        data, held_out_data = Masked(data, masking), MaskedHeldOut(held_out, masking)
    max_steps = config.run.max_steps or math.ceil(config.run.epochs * windows.samples / config.run.global_batch)
    findings.add(*check_corpus(config, windows, held_out, max_steps), check_schedule(config, max_steps))
    facts = facts_of(config, settings, trainee, teacher, windows, world)
    fits = not findings.failed
    found = findings.attempt("output folder", starting_point, config, facts)
    recorded = checkpoint.read_state(found[0])[1] if found and found[0] else {}
    findings.attempt("kernels", check_choices, config, settings, world.device, recorded)
    if not fits:
        return None
    idle = findings.attempt("first batch", _try_first_batch, config, trainee, teacher, data, settings, world)
    if found is None or idle is None or findings.failed:
        return None
    start, passed_over = found
    findings.add(*(Finding("warn", "checkpoints", line) for line in passed_over), _on_first_batch(idle))
    micro_batch, _ = resolve_batch(config, world.size)
    return Inputs(
        settings,
        micro_batch,
        max_steps,
        models.teacher_config,
        teacher,
        trainee,
        models.maps,
        tokenizer,
        windows,
        held_out,
        data,
        held_out_data,
        models.positions,
        facts,
        start,
    )


def refuse(findings: Findings, world: World) -> None:
    """Raise ValueError on every rank where any of them has found a failure. Collective."""
    said = [findings.texts("fail")] * world.size
    if world.size > 1:
        torch.distributed.all_gather_object(said, findings.texts("fail"))
    ranks: dict[str, list[int]] = {}
    for rank, texts in enumerate(said):
        for text in texts:
            ranks.setdefault(text, []).append(rank)
    if ranks:
        raise ValueError(refusal(_whose(numbers) + text for text, numbers in ranks.items()))


def silence_transformers() -> None:
    """Its notices tell of the heads we drop on purpose; weights that are missing we refuse ourselves."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _whose(ranks: list[int]) -> str:
    """Which ranks a failure is of, where rank 0 does not share it."""
    if ranks[0] == 0:
        return ""
    return f"on rank {ranks[0]}{f' and {len(ranks) - 1} more' if ranks[1:] else ''}: "


def _read_settings(config: GeneralConfig, world: World, findings: Findings) -> DeepSpeedSettings | None:
    split = findings.attempt("batch", resolve_batch, config, world.size)
    # Any batch splits over one rank, so that the rest of the file is read all the same.
    ranks = world.size if split else 1
    settings = findings.attempt("DeepSpeed file", load_ds_config, config.deepspeed, config, ranks)
    if split and settings:
        text = f"{settings.path}: ZeRO {settings.stage}, {split[1]} micro batch(es) of {split[0]} on {ranks} rank(s)"
        findings.add(Finding("ok", "DeepSpeed file", text))
    return settings


def _with_shards(config: GeneralConfig, tokenizer: str, world: World, findings: Findings) -> DataConfig | None:
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


def _open_data(
    config: GeneralConfig, sources: DataConfig | None, models: Models, findings: Findings
) -> tuple[Samples, HeldOut] | None:
    """sources: `config.data` with shards."""
    reader, whole, trainee = models.reader, models.whole, models.trainee
    if not (sources and reader and whole):
        for path in config.data.shards or []:
            findings.attempt("shards", open_corpus, path)
        return None
    segments = min(whole.type_vocab_size, (trainee.student.config if trainee else whole).type_vocab_size)
    pairs = config.data.pair_probability if segments > 1 else 0.0
    seed, special, fingerprint = config.run.seed, reader.special, reader.fingerprint
    data = findings.attempt("shards", open_windows, sources, seed, special, whole.vocab_size, fingerprint, pairs)
    sampled = findings.attempt("shards", check_token_ids, data[0]) if data else None
    findings.add(*([sampled] if sampled else []))
    return data


def _try_first_batch(
    config: GeneralConfig,
    trainee: Trainee,
    teacher: Teacher | None,
    data: TrainingData,
    settings: DeepSpeedSettings,
    world: World,
) -> list[str]:
    """Run this rank's first micro batch: the names of the weights that get no gradient."""
    micro_batch, _ = resolve_batch(config, world.size)
    _, batch = next(iter(rank_micro_batches(data, 0, config.run.global_batch, micro_batch, world)))
    return dry_batch(trainee.to(world.device), teacher, batch, settings)


def _on_first_batch(idle: list[str]) -> Finding:
    """idle: names of the weights without gradient."""
    if not idle:
        return Finding("ok", "first batch", "the loss is finite, and every weight has a gradient")
    return Finding("warn", "first batch", f"the objective gives no gradient to {', '.join(idle)}")
