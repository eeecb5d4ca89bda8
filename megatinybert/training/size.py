"""Batch, passes and learning rate where nobody says: by how much text there is.

An update of AdamW moves a weight by about the learning rate, whatever the batch. So little text is given many updates
of small batches at a high rate, and much text large batches at a rate that falls with the number of updates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from megatinybert.config.general import GeneralConfig, SettledConfig
from megatinybert.config.schema import MADE_WEIGHTS, STEADY_WIDTH, OpenRunConfig
from megatinybert.runtime.counts import counted
from megatinybert.runtime.findings import Finding
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.checkpoints.which import find_checkpoint

PASSES, MOST_PASSES = 3, 10
SMALLEST_BATCH, LARGEST_BATCH = 16, 256
WANTED_STEPS, FEWEST_STEPS = 1_000, 300  # for which the batch is made smaller; and more passes are made
RATE, RATE_OF_MLM = 1e-3, 1e-4
STEADY_STEPS = 10_000  # up to which the rate stays the same

# Below these a run is said to be short of something. Steps x peak rate bounds how far AdamW can move a weight: 0.3 in
# the quickstart, 0.009 in 93 steps at 1e-4, which leave a student where it began.
_LEAST_MOVEMENT, LEAST_TOKENS = 0.05, 200_000
# English: 4.6 bytes a token (docs/general.md); Chinese: 2.5, of 345,111 tokens in 0.875 MB.
_LEAST_TEXT = f"{LEAST_TOKENS:,} tokens or more, about 1 MB of English or 0.5 MB of Chinese"


@dataclass(frozen=True)
class Size:
    """config: with nothing left open. steps: of the whole run. reasons: a line for each value that was left open."""

    config: SettledConfig
    steps: int
    reasons: list[str]


def draft(config: GeneralConfig, ranks: int) -> SettledConfig:
    """The configuration before the text is open, to check everything else with."""
    batch = config.run.global_batch or _whole(LARGEST_BATCH, config, ranks)
    return _settled(config, batch, config.run.epochs or PASSES, config.optimizer.learning_rate or RATE)


def settle(config: GeneralConfig, windows: int, width: int, ranks: int) -> Size:
    """What is null in `config` by the size of the run; of a run that is continued, as it began.

    windows: of one pass. width: of the student. ranks: by which the batch can be divided.
    """
    return _by_size(config, windows, width, ranks, _as_it_began(config))


def check_size(
    sizes: Mapping[str, Size], windows: int, tokens: int, widths: Mapping[str, int], ranks: int
) -> list[Finding]:
    """Whether a run is long enough to teach its students anything.

    sizes: by the student's name, the same but for what is its own. tokens: of the training text. windows, widths,
    ranks: as of `settle`.
    """
    few = {name: size for name, size in sizes.items() if _moves_little(size)}
    better = {name: _by_size(_left_open(size.config), windows, widths[name], ranks, {}) for name, size in few.items()}
    findings = [Finding("warn", "size", _on_few_steps(few, better, len(sizes), tokens))] if few else []
    if tokens < LEAST_TOKENS:
        text = f"{tokens:,} tokens are little text: give {_LEAST_TEXT}"
        findings.append(Finding("warn", "amount of text", text))
    return findings


def check_steps_done(run: OpenRunConfig, steps: int) -> None:
    """Raise ValueError where the run that is continued has more steps behind it than it is to have."""
    checkpoint, _ = find_checkpoint(run, checksums=False)
    done = read_state(checkpoint)[0] if checkpoint else 0
    if done > steps:
        option = f"--run.max_steps {steps}" if run.max_steps else f"--run.epochs {run.epochs:g}"
        raise ValueError(
            f"{option}: {checkpoint} has {done:,} steps behind it, more than {steps:,}: give the run as many, or name "
            "another --run.output_dir"
        )


def moves_little(init: str, optimizer: str, steps: int, rate: float) -> bool:
    """Whether the steps of a new student are too few at its learning rate. init, optimizer: values of these options."""
    return init in MADE_WEIGHTS and optimizer != "sgd" and steps * rate < _LEAST_MOVEMENT


def _moves_little(size: Size) -> bool:
    optimizer = size.config.optimizer
    return moves_little(size.config.student.init, optimizer.name, size.steps, optimizer.learning_rate)


def _on_few_steps(few: Mapping[str, Size], better: Mapping[str, Size], students: int, tokens: int) -> str:
    """few: those that move little; better: the same by default. students: of the run. tokens: of its text."""
    rates, defaults = (
        {name: each.config.optimizer.learning_rate for name, each in sizes.items()} for sizes in (few, better)
    )
    size, default = next(iter(few.values())), next(iter(better.values()))  # steps and batch are those of all
    alike = len(few) == students and len({*rates.values()}) == len({*defaults.values()}) == 1
    if alike:
        at = f"a learning rate of up to {next(iter(rates.values())):g}"
        rate = f" --optimizer.learning_rate {next(iter(defaults.values())):g}"
    else:
        at = f"learning rates of up to {', '.join(f'{value:g} ({name})' for name, value in rates.items())}"
        own = ", ".join(f"{value:g} ({name})" for name, value in defaults.items())
        rate = f" and, in the entries of students, optimizer.learning_rate {own}"
    text = f"{counted(size.steps, 'step')} at {at} are too few to learn much"
    if any(each.config.student.init == "solved" and rates[name] >= RATE for name, each in few.items()):
        text += ", and a student that was solved may end worse than it began: the first steps at such a rate spoil it"
    if any(_moves_little(each) for each in better.values()):
        wanted = size.config.run
        if wanted.max_steps:
            fewest = math.ceil(_LEAST_MOVEMENT / min(rates.values()))
            return f"{text}: raise --run.max_steps {wanted.max_steps} to {fewest} or more"
        if tokens >= LEAST_TOKENS:
            return f"{text}: raise --run.epochs above {wanted.epochs:g}, or add text"
        return f"{text}: add text; {_LEAST_TEXT}, make a run of some use"
    run = default.config.run
    values = f"--run.epochs {run.epochs:g} --run.global_batch {run.global_batch}{rate}"
    values = f"--run.max_steps null {values}" if size.config.run.max_steps else values
    return f"{text}; {values} (the defaults for this text) make {counted(default.steps, 'step')}"


def _by_size(config: GeneralConfig, windows: int, width: int, ranks: int, began: Mapping[str, float]) -> Size:
    """began: what the run began with, by option."""
    run, reasons = config.run, []
    epochs = run.epochs or began.get("run.epochs")
    if epochs is None:
        epochs, why = _passes(windows, run.global_batch)
        reasons += [why] if run.max_steps is None else []
    batch = run.global_batch or began.get("run.global_batch")
    if batch is None:
        small, why = _batch(run.max_steps, epochs, windows)
        batch = _whole(small, config, ranks)
        reasons.append(why if batch == small else f"{why}; raised to {batch} to be shared by {counted(ranks, 'rank')}")
    steps = run.max_steps or math.ceil(epochs * windows / batch)
    rate = config.optimizer.learning_rate or began.get("optimizer.learning_rate")
    if rate is None:
        rate, why = _rate(config, steps, width)
        reasons.append(why)
    if began:
        values = ", ".join(f"--{name} {value:g}" for name, value in began.items())
        reasons.append(f"{values}, as in its newest checkpoint")
    return Size(_settled(config, int(batch), epochs, rate), steps, reasons)


def _passes(windows: int, batch: int | None) -> tuple[int, str]:
    smallest = batch or SMALLEST_BATCH
    needed = math.ceil(FEWEST_STEPS * smallest / windows)
    passes = min(max(needed, PASSES), MOST_PASSES)
    if passes == PASSES:
        return passes, f"--run.epochs {passes}"
    steps = math.ceil(passes * windows / smallest)
    return (
        passes,
        f"--run.epochs {passes}, since {PASSES} of so little text would be under {FEWEST_STEPS} steps ({steps})",
    )


def _batch(max_steps: int | None, epochs: float, windows: int) -> tuple[int, str]:
    """The largest power of two that leaves steps enough. With a given number of steps, the largest with which passes
    are few enough, and that grows with the steps: few of them teach little, whatever the batch, and are to be fast.
    """
    by_steps = LARGEST_BATCH * max_steps / WANTED_STEPS if max_steps else math.inf
    fits = min(windows * PASSES / max_steps, by_steps) if max_steps else windows * epochs / WANTED_STEPS
    batch = min(max(2 ** int(math.log2(max(fits, 1))), SMALLEST_BATCH), LARGEST_BATCH)
    if batch == LARGEST_BATCH:
        return batch, f"--run.global_batch {batch}, the largest by default"
    if fits == by_steps:
        grows = f"it grows with them, up to {LARGEST_BATCH} at {WANTED_STEPS:,}"
        return batch, f"--run.global_batch {batch}, as {max_steps:,} steps are few: {grows}"
    passes = f"{PASSES if max_steps else epochs:g} passes over {counted(windows, 'window')}"
    why = f"{max_steps:,} steps are at most {passes}" if max_steps else f"{passes} are {WANTED_STEPS:,} steps or more"
    if batch > fits:
        made = max_steps or math.ceil(epochs * windows / batch)
        over = f"{made * batch / windows:.3g} passes over {counted(windows, 'window')}"
        return batch, f"--run.global_batch {batch}, the smallest by default: {made:,} steps, {over}"
    return batch, f"--run.global_batch {batch}, with which {why}"


def _rate(config: GeneralConfig, steps: int, width: int) -> tuple[float, str]:
    if config.objective.name == "mlm":
        return RATE_OF_MLM, f"--optimizer.learning_rate {RATE_OF_MLM:g}, as for every run of the objective mlm"
    for_steps, for_width = math.sqrt(max(steps / STEADY_STEPS, 1)), max(width / STEADY_WIDTH, 1)
    rate = float(f"{RATE / for_steps / for_width:.2g}")
    why = [f"the root of {steps:,} / {STEADY_STEPS:,} steps"] if for_steps > 1 else []
    why += [f"{width} / {STEADY_WIDTH} of width"] if for_width > 1 else []
    divided = f", {RATE:g} divided by {' and by '.join(why)}" if why else f", for up to {STEADY_STEPS:,} steps"
    return rate, f"--optimizer.learning_rate {rate:g}{divided}"


def _whole(batch: int, config: GeneralConfig, ranks: int) -> int:
    """The batch, or a little more, in whole micro batches for every rank."""
    unit = ranks * (config.run.micro_batch or 1)
    return math.ceil(batch / unit) * unit


def _left_open(config: GeneralConfig) -> GeneralConfig:
    values = config.model_dump()
    values["run"] |= {"max_steps": None, "epochs": None, "global_batch": None}
    values["optimizer"] |= {"learning_rate": None}
    return GeneralConfig.model_validate(values)


def _as_it_began(config: GeneralConfig) -> Mapping[str, float]:
    """What the recipe of the run that is continued says of values that are null here; {} of a new run."""
    checkpoint, _ = find_checkpoint(config.run, checksums=False)
    recipe = checkpoint.parent.parent / "config.yaml" if checkpoint else Path()
    if not recipe.is_file():
        return {}
    said = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    open_ones = {
        "run.epochs": config.run.epochs if config.run.max_steps is None else config.run.max_steps,
        "run.global_batch": config.run.global_batch,
        "optimizer.learning_rate": config.optimizer.learning_rate,
    }
    found = {name: said.get(name.split(".")[0], {}).get(name.split(".")[1]) for name in open_ones}
    return {name: found[name] for name, value in open_ones.items() if value is None and found[name] is not None}


def _settled(config: GeneralConfig, batch: int, epochs: float, rate: float) -> SettledConfig:
    values = config.model_dump()
    values["run"] |= {"global_batch": batch, "epochs": epochs}
    values["optimizer"] |= {"learning_rate": rate}
    return SettledConfig.model_validate(values)
