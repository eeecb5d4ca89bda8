"""The doctor's findings and estimate.

What needs torch is imported where it is used: the findings can be told where a package is missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from megatinybert.config.asked import Asked
from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.config.named_paths import names_in
from megatinybert.config.run_folder import STUDENT_FOLDER
from megatinybert.config.schema import OpenRunConfig
from megatinybert.programs.finished import is_exported
from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.runtime.text_table import format_table

if TYPE_CHECKING:
    from megatinybert.programs.estimate import Estimate
    from megatinybert.runtime.dist import World
    from megatinybert.training.ready import Ready
    from megatinybert.training.resume import Start

_MUCH = 0.25  # of a run's time, for attention maps


def examine(
    config: GeneralConfig, ranks: int | None, burst: bool, world: World, began: float, absent: Sequence[str] = ()
) -> Findings:
    """Look, and print what is found. world: this process alone. began: its start, by time.perf_counter.

    absent: a line for each path that is not there, to be told where nothing that opens it does.
    """
    from deepspeed.accelerator import get_accelerator

    from megatinybert.programs.distil import look, silence_transformers
    from megatinybert.programs.estimate import estimate
    from megatinybert.runtime.dist import World
    from megatinybert.training.lock import check_unlocked

    silence_transformers()
    ranks = ranks or get_accelerator().device_count()
    findings = Findings()
    _look_at_device(world, findings)
    world.say("opening teacher, student and data, and trying the first batch")
    ready = look(config, World(0, ranks, world.device), findings)
    findings.attempt("output folder", check_unlocked, Path(config.run.output_dir))
    if findings.failed:
        ready = None
    if ready:
        findings.add(_where_it_starts(config, ready.first))
    _add_absent(absent, findings)
    print(findings_table(findings), flush=True)
    if ready and burst and ready.first.start.first_step < ready.first.stage.max_steps:
        print("\nmeasuring ...", file=sys.stderr, flush=True)
        start_up = time.perf_counter() - began
        found = findings.attempt("burst", estimate, ready, ranks, world)
        print("\n" + (estimate_table(found, start_up, ranks) if found else findings_table(findings)))
    return findings


def examine_apart(asked: Asked, world: World) -> Findings:
    """Look at the machine and at each thing that is named, by itself, where the options make no configuration; and
    print what is found.
    """
    from megatinybert.models.configuration import read_bert_config
    from megatinybert.programs.distil import silence_transformers
    from megatinybert.programs.open_data import look_at_shards
    from megatinybert.training.ready import check_machine

    silence_transformers()
    findings = Findings()
    findings.add(*(Finding("fail", "options", text) for text in asked.problems))
    _look_at_device(world, findings)
    world.say("looking at what the options name, each by itself")
    output = names_in(asked.given, "run.output_dir") or [OpenRunConfig().output_dir]
    check_machine(Path(output[0]), world, findings)
    for name in names_in(asked.given, "teacher.model"):
        teacher = findings.attempt("teacher", read_bert_config, name, "--teacher.model")
        if teacher:
            shape = f"{teacher.num_hidden_layers} x {teacher.hidden_size}, {teacher.vocab_size:,} embeddings"
            findings.add(Finding("ok", "teacher", f"--teacher.model {name}: {shape}"))
    findings.add(*look_at_shards(names_in(asked.given, "data.shards"), findings))
    _add_absent(asked.absent, findings)
    print(findings_table(findings), flush=True)
    return findings


def _look_at_device(world: World, findings: Findings) -> None:
    from megatinybert.training.checks import check_accelerator, check_apex

    world.say("measuring this machine's speed")
    findings.add(check_accelerator(world.device), check_apex())


def _add_absent(absent: Sequence[str], findings: Findings) -> None:
    """What is absent, where nothing that opens it has told of it: each line begins with what it is of."""
    told = "\n".join(findings.texts("fail"))
    findings.add(*(Finding("fail", "options", text) for text in absent if text.split(": ")[0] not in told))


def findings_table(findings: Findings) -> str:
    """All findings, and how many are failures and warnings."""
    rows = format_table([(finding.level, finding.subject, finding.text) for finding in findings.all])
    failures, warnings = (len(findings.texts(level)) for level in ("fail", "warn"))
    refused = " A run would refuse to start." if failures else ""
    return f"{rows}\n\n{failures} wrong, {warnings} to look at.{refused}"


def _where_it_starts(config: GeneralConfig, ready: Ready) -> Finding:
    done, steps, start = ready.start.first_step, ready.stage.max_steps, ready.start.checkpoint
    outputs = [Path(member.run.output_dir) for member in members_of(config).values()] or [Path(config.run.output_dir)]
    if start is None:
        text = "new: the run begins at step 0"
    elif done >= steps and all(is_exported(output, start) for output in outputs):
        students = ", ".join(str(output / STUDENT_FOLDER) for output in outputs)
        text = f"the run is finished: all of its {counted(steps, 'step')} are done, and it has left {students}"
    elif done >= steps:
        text = f"{start} is the end of this run: nothing is left to do but to export the student"
    else:
        text = f"the run continues from {start}: {done:,} of {steps:,} steps are done{_conversion(ready.start)}"
    return Finding("ok", "output folder", text)


def _conversion(start: Start) -> str:
    """What it takes that the checkpoint is of other ranks, another ZeRO stage or precision; "" where it is not."""
    from megatinybert.runtime.stopwatch import duration
    from megatinybert.training.convert import BYTES_PER_SECOND
    from megatinybert.training.disk import size
    from megatinybert.training.placement import in_words

    if not start.converts:
        return ""
    assert start.here and start.there and start.checkpoint  # of a run that is continued
    count = sum(path.stat().st_size for path in start.checkpoint.rglob("*.pt"))
    return (
        f"; it continues at {in_words(start.here, start.there)}, which is converted at the start: about "
        f"{duration(count / BYTES_PER_SECOND)} and {size(count)} of rank 0's memory, nothing on the disk"
    )


def estimate_table(found: Estimate, start_up: float, ranks: int) -> str:
    """What the run will take. start_up: seconds that the doctor itself took to get so far."""
    from megatinybert.programs.estimate import MAPS
    from megatinybert.runtime.stopwatch import duration
    from megatinybert.training.disk import size

    step = sum(found.parts.values())
    shares = ", ".join(f"{name} {100 * seconds / step:.0f} %" for name, seconds in found.parts.items())
    alone = f"{counted(found.measured_steps, 'step')} measured on one process of this machine"
    if ranks > 1:
        alone += f", with the share of one of {ranks} ranks: their waiting for one another is not in it"
    parts = [f"start-up {duration(start_up)}", f"steps {duration(found.steps * step)}"]
    for each in found.occasions:
        spent, leave_out = each.times * each.seconds, " (--monitor.attention_interval 0 makes none)"
        hint = leave_out if each.name == MAPS and spent > _MUCH * found.seconds else ""
        parts.append(f"{each.times} x {each.name} {duration(spent)}{hint}")
    rows = {
        "to do": f"{counted(found.steps, 'step')}, {found.steps * found.tokens_per_step:,} tokens",
        "speed": f"{found.tokens_per_second:,.0f} tokens/s, {step:.3g} s a step ({alone})",
        "of a step": shares,
        "time": f"{duration(start_up + found.seconds)}: {', '.join(parts)}",
        "memory": f"{size(found.peak_bytes)} at the most in that process",
        "checkpoint": size(found.checkpoint_bytes),
    }
    return format_table(list(rows.items()))
