"""A general distillation run put together: configuration in, exported student out."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from transformers import BertConfig

from megatinybert import __version__, checkpoint
from megatinybert.config import dump_yaml, resolve_batch
from megatinybert.data.source import data_identity, open_windows
from megatinybert.data.tokenizer import load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.data.windows import Windows
from megatinybert.dist import World, check_shared
from megatinybert.ds_config import DeepSpeedSettings, load_ds_config
from megatinybert.engine import build_engine, dry_batch, rank_micro_batches
from megatinybert.export import export_student
from megatinybert.files import write_atomically
from megatinybert.fit import Run, fit
from megatinybert.models import Teacher, load_teacher, read_bert_config, size_of, teacher_dtype
from megatinybert.monitor import Monitor
from megatinybert.schema import GeneralConfig
from megatinybert.trainee import Trainee, build_trainee

STUDENT = "student"


def distil(config: GeneralConfig, world: World) -> None:
    """Run, or continue, the distillation that `config` describes. Every rank calls it.

    Raises ValueError for whatever does not fit together, before the first step; `fit.NonFiniteLoss` later.
    """
    settings = load_ds_config(config.deepspeed, config, world.size)
    micro_batch, _ = resolve_batch(config, world.size)
    output = Path(config.run.output_dir)

    teacher_config = read_bert_config(config.teacher.model, "--teacher.model")
    trainee = build_trainee(config, teacher_config)
    _check_positions(config, teacher_config, trainee.student.config)
    dtype = teacher_dtype(config.teacher.dtype, world.device)
    teacher = load_teacher(config.teacher.model, trainee.objective.teacher_layers, dtype, world.device)

    tokenizer_name = config.teacher.tokenizer or config.teacher.model
    tokenizer = load_tokenizer(tokenizer_name)
    if special_ids(tokenizer).vocab_size > teacher_config.vocab_size:
        raise ValueError(
            f"the tokenizer {tokenizer_name} has {special_ids(tokenizer).vocab_size:,} ids, --teacher.model "
            f"{config.teacher.model} only {teacher_config.vocab_size:,}: name its own with --teacher.tokenizer"
        )
    segments = min(teacher_config.type_vocab_size, trainee.student.config.type_vocab_size)
    windows, held_out = open_windows(
        config.data,
        config.run.seed,
        special_ids(tokenizer),
        teacher_config.vocab_size,
        tokenizer_fingerprint(tokenizer),
        config.data.pair_probability if segments > 1 else 0.0,
    )
    max_steps = config.run.max_steps or math.ceil(config.run.epochs * windows.samples / config.run.global_batch)

    trainee.to(world.device)
    _, first_batch = next(iter(rank_micro_batches(windows, 0, config.run.global_batch, micro_batch, world)))
    idle = dry_batch(trainee, teacher, first_batch, settings)

    facts = _facts(config, settings, trainee, teacher, windows, world)
    check_shared(output, world)
    start = _starting_point(config, output, facts, world)
    engines = {STUDENT: build_engine(trainee, config.optimizer, settings)}
    first_step = 0
    if start:
        checkpoint.load(start, engines)
        first_step, _ = checkpoint.read_state(start)

    monitor = None
    if world.is_main:
        _write_config(output, config, settings, world)
        monitor = Monitor(output, first_step, max_steps)
        for line in (
            f"teacher {config.teacher.model}: {trainee.objective.teacher_layers} of "
            f"{teacher_config.num_hidden_layers} layers in {str(dtype).removeprefix('torch.')}",
            f"student {config.student.config}: {size_of(trainee.student).parameters:,} parameters, "
            f"{settings.precision}, ZeRO {settings.stage}, {world.size} rank(s) on {world.device.type}",
            f"data: {windows.samples:,} windows of {config.data.sequence_length} tokens; held out: "
            f"{len(held_out.sample_ids):,} windows ({held_out.origin})",
            f"steps: {first_step:,} done of {max_steps:,}, {config.run.global_batch} windows each, "
            f"micro batch {micro_batch}",
            *([f"the objective gives no gradient to {', '.join(idle)}"] if idle else []),
        ):
            print(line, file=sys.stderr)
    try:
        run = Run(config, engines, teacher, windows, held_out, micro_batch, max_steps, facts, world)
        fit(run, first_step, monitor)
    finally:
        if monitor:
            monitor.close()
    card = {
        "teacher": config.teacher.model,
        "objective": config.objective.name,
        "optimizer steps": f"{max_steps:,}",
        "tokens seen": f"{max_steps * config.run.global_batch * config.data.sequence_length:,}",
        "sequence length": config.data.sequence_length,
        **_last_held_out(output, world),
    }
    export_student(engines[STUDENT], output / "student", tokenizer_name, card, world)


def _check_positions(config: GeneralConfig, teacher: BertConfig, student: BertConfig) -> None:
    """Raise ValueError where a model has fewer positions than a window has tokens."""
    length = config.data.sequence_length
    for option, model in (
        (f"--teacher.model {config.teacher.model}", teacher),
        (f"--student.config {config.student.config}", student),
    ):
        if model.max_position_embeddings < length:
            raise ValueError(
                f"--data.sequence_length {length} exceeds the {model.max_position_embeddings} positions of {option}: "
                "shorten the sequence to that"
            )


def _starting_point(config: GeneralConfig, output: Path, facts: dict[str, Any], world: World) -> Path | None:
    """The checkpoint to continue from, checked against this run; None to begin anew."""
    resume = config.run.resume
    if resume in ("auto", "never"):
        start, passed_over = checkpoint.newest(output / "checkpoints")
        for line in passed_over if world.is_main else []:
            print(f"warning: {line}", file=sys.stderr)
        if resume == "never" and (start or passed_over):
            raise ValueError(
                f"--run.resume never, but {output} already holds a run: choose another --run.output_dir, "
                "or continue it with --run.resume auto"
            )
    else:
        start = Path(resume)
        problem = checkpoint.damage(start)
        if problem:
            raise ValueError(f"--run.resume {resume} is not a whole checkpoint: {problem}")
    if start:
        checkpoint.check_facts(start, facts)
    return start


def _facts(
    config: GeneralConfig,
    settings: DeepSpeedSettings,
    trainee: Trainee,
    teacher: Teacher,
    windows: Windows,
    world: World,
) -> dict[str, Any]:
    """What makes a run the same run: a checkpoint is continued only where all of it agrees."""
    student = trainee.student.config
    facts: dict[str, Any] = {
        "corpus": data_identity(windows),
        "data.sequence_length": config.data.sequence_length,
        "data.pair_probability": config.data.pair_probability,
        "data.shuffle_block": config.data.shuffle_block,
        "data.shuffle_group": config.data.shuffle_group,
        "run.seed": config.run.seed,
        "run.global_batch": config.run.global_batch,
        "student layers, width, heads, intermediate": [
            student.num_hidden_layers,
            student.hidden_size,
            student.num_attention_heads,
            student.intermediate_size,
        ],
        "teacher": teacher.fingerprint,
        "objective": config.objective.model_dump(mode="json"),
        "optimizer.name": config.optimizer.name,
        "ZeRO stage": settings.stage,
        "precision": settings.precision,
    }
    if settings.stage > 0:  # DeepSpeed splits the optimizer's state among the ranks
        facts["world size"] = world.size
    return json.loads(json.dumps(facts))


def _write_config(output: Path, config: GeneralConfig, settings: DeepSpeedSettings, world: World) -> None:
    """config.yaml: a recipe that repeats the run, and what it ran on."""
    output.mkdir(parents=True, exist_ok=True)
    packages = ("torch", "deepspeed", "transformers", "tokenizers", "numpy")
    environment = {
        "megatinybert": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "git": _git_hash(),
        "device": world.device.type,
        "world_size": world.size,
        "deepspeed_config": settings.raw,
    }
    text = dump_yaml(config) + yaml.safe_dump({"environment": environment}, sort_keys=False, allow_unicode=True)
    write_atomically(output / "config.yaml", text)


def _git_hash() -> str | None:
    """Commit of the working tree this code is in, with "+changes" where files differ; None outside git."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # installed beside somebody else's repository is not in it
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _last_held_out(output: Path, world: World) -> dict[str, str]:
    if not world.is_main:
        return {}
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = (
        json.loads(lines[-1]) if lines else {}
    )  # a finished run's checkpoint, resumed into an empty folder, logs nothing
    return {tag.replace("held_out/", "held-out "): f"{v:.4f}" for tag, v in last.items() if tag.startswith("held_out/")}
