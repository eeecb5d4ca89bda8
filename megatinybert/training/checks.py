"""What has to fit together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from deepspeed.accelerator import get_accelerator
from transformers import BertConfig, BertModel, PreTrainedConfig, PreTrainedModel

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.general import GeneralConfig, SettledConfig
from megatinybert.config.shards import HELD_OUT_SHARE
from megatinybert.config.training import TrainingConfig
from megatinybert.corpus.manifest import is_mostly_unknown, read_manifest, share_of_unknown
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.models.apex import apex_state
from megatinybert.models.load import count_of, size_as_saved, size_of
from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import Finding, Level
from megatinybert.runtime.hardware import computes_bfloat16, find_peak, hardware_name
from megatinybert.runtime.workers import usable_cores
from megatinybert.samples.mixture import Mixture
from megatinybert.samples.open import HeldOut, Samples
from megatinybert.samples.windows import Windows
from megatinybert.tracking.remarks import on_no_probe
from megatinybert.training.schedule import warmup_steps
from megatinybert.training.sentence_vectors import FEW_WINDOWS, by_chance, more_windows

MANY_PASSES = 10
_KNOWN = 0.5  # of a model's ids, which its own tokenizer has at the least
_SAMPLED_WINDOWS = 64


def check_accelerator(device: torch.device) -> Finding:
    """What one rank computes on, and how fast. Takes about a second."""
    peaks = ", ".join(str(find_peak(dtype, device)) for dtype in (torch.float32, torch.bfloat16))
    return Finding("ok", "accelerator", f"{hardware_name(device)}; matrix products: {peaks}")


def check_apex() -> Finding:
    """Whether what is called apex here is NVIDIA's. A run looks at it only where it is asked for."""
    state = apex_state()
    return Finding("ok" if state.kind in ("missing", "usable") else "warn", "apex", state.sentence)


def check_threads(ranks: int, device: torch.device) -> Finding:
    """Whether the ranks of this machine share its cores well. ranks: on this machine."""
    cores, threads = usable_cores(), torch.get_num_threads()
    text = f"{counted(ranks, 'rank')} of {counted(threads, 'thread')} on {counted(cores, 'core')}"
    fair = max(cores // ranks, 1)
    if device.type != "cpu" or cores // 2 <= ranks * threads <= max(cores, ranks):
        return Finding("ok", "threads", text)
    effect = "they hinder one another" if ranks * threads > cores else "cores stay idle"
    return Finding("warn", "threads", f"{text}: {effect}; set OMP_NUM_THREADS={fair}")


def check_precision(settings: DeepSpeedSettings, teacher: torch.dtype | None, device: torch.device) -> list[Finding]:
    """Whether the device computes what the DeepSpeed file and --teacher.dtype ask for. teacher: resolved, if any."""
    if settings.precision == "fp16" and not get_accelerator().is_fp16_supported():
        text = (
            f"--deepspeed {settings.path} asks for fp16, which DeepSpeed does not run on this device: "
            "take a bf16 configuration, such as zero2-bf16, or a float32 one, such as zero2"
        )
        return [Finding("fail", "precision", text)]
    student = {"fp32": torch.float32, "fp16": torch.float16}.get(settings.precision, torch.bfloat16)
    slow = {}
    if not settings.reason:  # auto has its reason
        what = f"--deepspeed {settings.path} computes the student in bfloat16"
        slow[what] = student, "a float32 one, such as zero1"
    if teacher:
        slow[f"--teacher.dtype {_name(teacher)}"] = teacher, "auto"
    findings = [
        Finding(
            "warn", "precision", f"{what}, for which this device has no instructions: slower than float32; take {fix}"
        )
        for what, (dtype, fix) in slow.items()
        if not computes_natively(dtype, device)
    ]
    asked = settings.precision == "fp32" and not settings.reason
    if asked and device.type == "cuda" and computes_natively(torch.bfloat16, device):
        text = (
            f"--deepspeed {settings.path} computes the student in float32, in which this GPU is many times slower than "
            "in 16 bits: take one that keeps its weights in float32 and computes in bfloat16, such as zero1-autocast"
        )
        findings.append(Finding("warn", "precision", text))
    if asked and device.type == "cpu" and computes_natively(torch.bfloat16, device):
        text = (
            f"--deepspeed {settings.path} computes the student in float32; this CPU has instructions for bfloat16, in "
            "which a step takes up to half as long: auto takes it, with weights in float32"
        )
        findings.append(Finding("warn", "precision", text))
    why = f" ({settings.reason})" if settings.reason else ""
    text = f"student {settings.precision}{why}" + (f", teacher {_name(teacher)}" if teacher else "")
    if settings.reason or not findings:
        findings.append(Finding("ok", "precision", text))
    return findings


def computes_natively(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the device has instructions for a dtype, and so gains speed by it."""
    if dtype == torch.bfloat16:
        return computes_bfloat16(device)
    return dtype != torch.float16 or get_accelerator().is_fp16_supported()


def check_positions(option: str, length: int, models: Mapping[str, BertConfig]) -> list[Finding]:
    """Whether the models, by the option that names each, have a position for every token of the longest row.

    option: which sets that length.
    """
    return [
        Finding(
            "fail",
            "positions",
            f"{option} {length} is more than the {model.max_position_embeddings} positions of {name}: lower it",
        )
        for name, model in models.items()
        if model.max_position_embeddings < length
    ]


def check_tokenizer(name: str, special: SpecialIds, fingerprint: str, option: str, model: BertConfig) -> Finding:
    """Whether a model has an embedding for every id of the tokenizer `name`. option: what named the model."""
    if special.vocab_size > model.vocab_size:
        text = (
            f"the tokenizer {name} has {special.vocab_size:,} ids, {option} only {model.vocab_size:,}: name its own "
            "with --teacher.tokenizer"
        )
        return Finding("fail", "tokenizer", text)
    if special.vocab_size < _KNOWN * model.vocab_size:
        text = (
            f"the tokenizer {name} has {special.vocab_size:,} ids, {option} {model.vocab_size:,}: is it its own? "
            "Most of what the model knows does not occur in such a text"
        )
        return Finding("warn", "tokenizer", text)
    return Finding("ok", "tokenizer", f"{special.vocab_size:,} ids, fingerprint {fingerprint[:12]}")


def check_weight_files(name: str) -> list[Finding]:
    """Whether a teacher's folder has its weights in the safe form. A hub name is not looked at."""
    folder = Path(name)
    pickled = sorted(path.name for path in folder.glob("*.bin")) if folder.is_dir() else []
    if not pickled or any(folder.glob("*.safetensors")):
        return []
    text = (
        f"--teacher.model {name} has pickled weights only ({pickled[0]}): its tensors alone are read, slowly; "
        "loading it in Transformers and save_pretrained give model.safetensors"
    )
    return [Finding("warn", "teacher", text)]


def check_mlm(config: GeneralConfig, student: PreTrainedModel) -> list[Finding]:
    """Whether masked-language modelling has tokens to guess, and what is trained."""
    trained = count_of(weight for weight in student.parameters() if weight.requires_grad)
    text = (
        f"{_shape(student.config)}, {size_of(student).parameters:,} parameters with its masked-LM head, {trained:,} of "
        f"them trained; first weights: {config.student.init}"
    )
    length, probability = config.data.sequence_length, config.mlm.probability
    masked = max(round(probability * (length - 2)), 1)
    masking = Finding("ok", "masking", f"up to {masked} of the {length} tokens of a window")
    return [Finding("ok", "model", text), masking]


def check_sizes(config: GeneralConfig, teacher: BertConfig, student: PreTrainedModel) -> list[Finding]:
    """Whether the student is smaller than its teacher, and can tell segments apart where the teacher can."""
    with torch.device("meta"):
        theirs = size_as_saved(BertModel(teacher)).parameters
    ours, shape = size_as_saved(student).parameters, student.config
    text = (
        f"{_shape(shape)}, {ours:,} parameters with pooler; the teacher {_shape(teacher)}, {theirs:,}; "
        f"first weights: {config.student.init}"
    )
    findings = [Finding("ok", "models", text)]
    if ours >= theirs:
        text = (
            f"--student.config {config.student.config} has {ours:,} parameters, the teacher only {theirs:,}: "
            "take a smaller shape"
        )
        findings = [Finding("warn", "models", text)]
    if shape.type_vocab_size < teacher.type_vocab_size:
        text = (
            f"--student.config {config.student.config} has {counted(shape.type_vocab_size, 'segment type')}, the "
            f"teacher {teacher.type_vocab_size}: no window is split into segments, and no task can tell two texts "
            "apart by them; set type_vocab_size to the teacher's"
        )
        findings.append(Finding("warn", "models", text))
    return findings


def check_token_ids(samples: Samples) -> Finding:
    """Read windows from all over the corpus. Raises ValueError where an id is outside the models' vocabulary."""
    count = min(_SAMPLED_WINDOWS, samples.samples)
    samples.batch(np.linspace(0, samples.samples - 1, count).astype(np.int64))
    return Finding("ok", "token ids", f"those of {counted(count, 'window')} lie within the models' vocabulary")


def check_text(folders: Sequence[str]) -> list[Finding]:
    """What is known to spoil the text that shards were made of: failures where it is mostly [UNK], or else warnings.

    folders: of shards, or prefixes, which say nothing.
    """
    manifests = {folder: read_manifest(Path(folder)) for folder in folders if Path(folder).is_dir()}
    findings = [
        Finding("fail" if is_mostly_unknown(manifest) else "warn", "text", f"{folder}: {warning}")
        for folder, manifest in manifests.items()
        for warning in manifest.warnings
    ]
    shares = [
        f"{share_of_unknown(manifest):.2%} of {folder}"
        for folder, manifest in manifests.items()
        if manifest.unknown_tokens is not None
    ]
    return findings or ([Finding("ok", "text", f"tokens that are [UNK]: {', '.join(shares)}")] if shares else [])


def check_corpus(config: SettledConfig, samples: Samples, held_out: HeldOut, max_steps: int) -> list[Finding]:
    """Whether there is text enough for the run, and some that it never sees."""
    tokens = tokens_of(samples)
    passes = largest_passes(samples, max_steps * config.run.global_batch)
    text = f"{tokens:,} tokens, {samples.samples:,} windows of {config.data.sequence_length} tokens"
    findings = [Finding("ok", "corpus", text)]
    whole = max_steps * MANY_PASSES / passes  # steps; the last one may go beyond the last pass
    if max_steps > math.ceil(whole):
        steps = max(int(whole), 1)
        of_one = " of one corpus of the mixture" if isinstance(samples, Mixture) else ""
        text = (
            f"{text}: {counted(max_steps, 'step')} of {counted(config.run.global_batch, 'window')} are {passes:,.1f} "
            f"passes{of_one}; add text, or end sooner, as --run.max_steps {steps} does after {MANY_PASSES}"
        )
        findings = [Finding("warn", "corpus", text)]
    if isinstance(samples, Mixture):
        drawn = max_steps * config.run.global_batch
        findings += [Finding("ok", "mixture", line) for line in samples.lines(drawn)]
        findings += [Finding("warn", "mixture", warning) for warning in samples.warnings(drawn)]
    return [*findings, _check_held_out(config, held_out)]


def _check_held_out(config: SettledConfig, held_out: HeldOut) -> Finding:
    """Whether the held-out text is like the rest, and enough for the probes."""
    count = len(held_out)
    level: Level = "ok"
    text = f"{counted(count, 'window')}, {held_out.origin}"
    if held_out.unused:
        level = "warn"
        text += ": one end of the text may not be like the rest. "
        if config.data.text:
            text += "Of more documents, some are held out, from all over the text"
        else:
            text += "data_prep/build_shards.py holds out documents from all over it, and more of them with a larger "
            text += f"--validation-fraction (default {HELD_OUT_SHARE})"
        text += "; a shorter --data.sequence_length makes windows of what it has" if any(held_out.unused) else ""
    if count < FEW_WINDOWS and config.objective.name != "mlm":
        level = "warn"
        few = f"On so few windows the report's probes differ by up to {by_chance(count):.2g} by chance."
        more = more_windows(count, config.data.held_out_windows, FEW_WINDOWS)
        text += f". {on_no_probe(count) or few} To have {FEW_WINDOWS} or more, {more}"
        if count < config.data.held_out_windows and not (config.data.text or held_out.unused):
            text += ", or build the shards with a larger --validation-fraction"
    return Finding(level, "held-out text", text)


def check_schedule(config: TrainingConfig, max_steps: int) -> Finding:
    """Whether the learning rate ever reaches its peak."""
    warmup = warmup_steps(config.schedule, max_steps)
    if warmup >= max_steps:
        text = (
            f"a warm-up of {counted(warmup, 'step')} in a run of {max_steps:,}: the learning rate does nothing but "
            "rise; lower --schedule.warmup_steps or --schedule.warmup_fraction"
        )
        return Finding("warn", "schedule", text)
    return Finding("ok", "schedule", f"{counted(max_steps, 'step')}, {warmup:,} of them warm-up")


def corpora_of(samples: Samples) -> list[Windows]:
    return samples.corpora if isinstance(samples, Mixture) else [samples]


def tokens_of(samples: Samples) -> int:
    return sum(len(windows.stream) for windows in corpora_of(samples))


def largest_passes(samples: Samples, drawn: int) -> float:
    """How often the first `drawn` positions pass over the corpus; of a mixture, over the one they pass most often."""
    if not isinstance(samples, Mixture):
        return drawn / samples.samples
    each = zip(samples.drawn(drawn).tolist(), samples.corpora, strict=True)
    return max(count / windows.samples for count, windows in each)


def _shape(config: PreTrainedConfig) -> str:
    return f"{config.num_hidden_layers} x {config.hidden_size}"


def _name(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
