"""General distillation: a `Family` opened from its configuration, and run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from megatinybert.config.deepspeed import DeepSpeedSettings
from megatinybert.config.general import GeneralConfig, SettledConfig
from megatinybert.models.load import teacher_dtype
from megatinybert.programs.ending import ending
from megatinybert.programs.general_options import decided_by_options
from megatinybert.programs.general_stage import Opened, describe
from megatinybert.programs.members import Members, find_members, unsettled_members
from megatinybert.programs.open_data import open_data, skipping, with_shards
from megatinybert.programs.open_models import Models, taught_models, tokenizer_name, untaught_models
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.samples.open import HeldOut, Samples
from megatinybert.training.agreement import check_same_program
from megatinybert.training.checks import check_corpus, tokens_of
from megatinybert.training.disk import checkpoint_bytes
from megatinybert.training.fits import check_memory, check_network, on_kept_signals
from megatinybert.training.ready import (
    ReadyFamily,
    check_machine,
    check_settings,
    facts_of,
    get_ready,
    local_ranks,
)
from megatinybert.training.run import run_family
from megatinybert.training.same_run import check_options
from megatinybert.training.size import Size, check_size, check_steps_done, draft, settle
from megatinybert.training.stage import Family


def distil(config: GeneralConfig, world: World) -> None:
    """Run, or continue, the distillation that `config` describes. Every rank calls it.

    Raises ValueError listing whatever does not fit together, before the first step; later
    `finite.NonFiniteLoss` and `stop.Stopped`.
    """
    check_same_program(config, world)
    world.refuse(refused_early(config) if world.is_main else [])
    findings = Findings()
    world.say(f"opening teacher, {'students' if config.students else 'student'} and data")
    run_family(open_family(config, world, findings), findings, world)
    if world.is_main:
        names = [student.name for student in config.students or []]
        print(ending(Path(config.run.output_dir), names), flush=True)


def refused_early(config: GeneralConfig) -> list[str]:
    """What forbids to continue the run in the output folder, as far as options, shapes and checkpoints tell it."""
    if config.students and config.run.resume != "auto":  # a checkpoint of one of them, which stands for those of all
        return []
    members = unsettled_members(config)
    said = members.findings()
    for name, member in members.configs.items():
        said[name].attempt("output folder", check_options, member.run, decided_by_options(member))
        if member.run.max_steps:
            said[name].attempt("output folder", check_steps_done, member.run, member.run.max_steps)
    return [finding.text for finding in members.of_each(said)]


def open_family(config: GeneralConfig, world: World, findings: Findings) -> Family | None:
    """Open what `config` names. What is found is added to `findings`; None where some of it is a failure.

    Whatever can be looked at without the things that failed is looked at, so that all mistakes are told at once.
    """
    check_machine(Path(config.run.output_dir), world, findings)
    members = findings.attempt("output folder", find_members, config, world) or unsettled_members(config)
    findings.add(*(Finding("warn", "checkpoints", line) for line in members.passed_over))
    taught, wanted = members.first.objective.name != "mlm", config.teacher
    dtype = teacher_dtype(wanted.dtype, world.device, wanted.quantize) if taught else None
    drafts = {name: draft(member, world.size) for name, member in members.configs.items()}
    early = Findings()  # of what the batch does not decide; whatever forbids the run is told before text is read
    _settings_of_each(members, drafts, dtype, world, early)
    findings.add(*(finding for finding in early.all if early.failed))
    tokenizer = findings.attempt("tokenizer", tokenizer_name, config) or ""
    models = (taught_models if taught else untaught_models)(members, tokenizer, world, findings)
    # Last, since to make shards of text may take long; called by all ranks, whatever they have found.
    sources = findings.attempt("text", with_shards, config, tokenizer, world, findings)
    text = open_data(config, sources, models, findings)
    whole = len(models.trainees) == len(members.configs) and (bool(models.teachers) or not taught)
    sizes = _size_of_each(members, models, text[0].samples, world) if text else {}
    settled = {name: sizes[name].config if sizes else drafts[name] for name in members.configs}
    settings = _settings_of_each(members, settled, dtype, world, findings)  # called by all ranks
    if not (len(settings) == len(settled) and models.reader and whole and text):
        return None
    _check_sizes(members, sizes, settings, models, text, world, findings)
    data = skipping(config, text[0], models, findings)
    if data is None:
        return None
    return describe(config, Opened(members, sizes, settings, models, tokenizer, *text, data), world)


def look(config: GeneralConfig, world: World, findings: Findings) -> ReadyFamily | None:
    """All that a run finds at its start, without the run; None where something forbids it."""
    family = open_family(config, world, findings)
    if family is None:
        return None
    return get_ready(family, facts_of(family, world), world, findings)


def silence_transformers() -> None:
    """Its notices tell of the heads we drop on purpose; weights that are missing we refuse ourselves."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _settings_of_each(
    members: Members, configs: Mapping[str, SettledConfig], dtype: torch.dtype | None, world: World, findings: Findings
) -> dict[str, DeepSpeedSettings]:
    """The DeepSpeed settings of each student, without those that cannot be used. Every rank calls it."""
    said = members.findings()
    quantize = members.first.teacher.quantize
    found = {name: check_settings(each, dtype, quantize, world, said[name]) for name, each in configs.items()}
    findings.add(*members.of_each(said))
    return {name: settings for name, settings in found.items() if settings}


def _size_of_each(members: Members, models: Models, windows: int, world: World) -> dict[str, Size]:
    sizes = {}
    for name, member in members.configs.items():
        trainee = models.trainees.get(name)
        width = trainee.student.config.hidden_size if trainee else 0
        sizes[name] = settle(member, windows, width, world.size)
    return sizes


def _held(sizes: Mapping[str, Size], settings: Mapping[str, DeepSpeedSettings], models: Models, world: World) -> int:
    """Bytes that weights and optimizers of all students take on this machine, at the least, with the copy that
    --run.async_save writes from.
    """
    times = 2 if any(size.config.run.async_save for size in sizes.values()) else 1
    of_all = sum(
        checkpoint_bytes(models.weights(name), settings[name], size.config.optimizer.name)
        for name, size in sizes.items()
    )
    return times * of_all * local_ranks(world) // world.size


def _to_need_less(config: SettledConfig, students: int) -> str:
    """What to do where no micro batch is small enough. config: of any."""
    fewer = ["fewer students in one run"] if students > 1 else []
    without_copy = ["--run.async_save false"] if config.run.async_save else []
    return f"take {' or '.join(['a smaller --student.config', *fewer, *without_copy])}"


def _check_sizes(
    members: Members,
    sizes: Mapping[str, Size],
    settings: Mapping[str, DeepSpeedSettings],
    models: Models,
    text: tuple[Samples, HeldOut],
    world: World,
    findings: Findings,
) -> None:
    """Whether text, batch and steps suit the students, and these the machine."""
    windows, held_out_windows = text
    said, held = members.findings(), _held(sizes, settings, models, world)
    for name, size in sizes.items():
        config, own = size.config, said[name]
        shape = models.trainees[name].student.config
        own.add(*check_corpus(config, windows, held_out_windows, size.steps))
        own.attempt("output folder", check_steps_done, config.run, size.steps)
        if world.device.type == "cpu":
            rows, length = settings[name].raw["train_micro_batch_size_per_gpu"], config.data.sequence_length
            shapes, share = (shape, models.teacher_config), config.run.global_batch // world.size
            remedy = _to_need_less(config, len(sizes))
            own.add(*check_memory(*shapes, rows, share, local_ranks(world), length, held, remedy))
        own.add(*(Finding("ok", "size", reason) for reason in size.reasons))
        optimizer = config.optimizer.name
        own.add(*check_network(models.weights(name), settings[name], optimizer, local_ranks(world), world))
    findings.add(*members.of_each(said))
    widths = {name: models.trainees[name].student.config.hidden_size for name in sizes}
    findings.add(*check_size(sizes, windows.samples, tokens_of(windows), widths, world.size))
    if models.teacher_config:
        layers = max(trainee.objective.teacher_layers for trainee in models.trainees.values())
        length = members.first.data.sequence_length
        findings.add(on_kept_signals(models.teacher_config, layers, windows.samples, length))
