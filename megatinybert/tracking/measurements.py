"""One description of each measured scalar."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

TRAINING = "training"  # the TensorBoard run of all that is measured in training and not compared in one chart
HELD_OUT = "held_out"  # that of what is measured on other text, or on development rows
PROBE, ACCURACY = "held_out/probe", "held_out/accuracy"
PROJECTED = "held_out/probe_through_projection"
MASKED = "held_out/masked_tokens"
FEWEST_WINDOWS = 3  # of a probe: two are one pair, and one similarity correlates with nothing

LOSSES, LAYERS = "losses in training and held out, measurements", "loss of each layer"
_SPEED, _OPTIMIZER, _DATA = "speed", "optimizer", "data and memory"
# The categories of TensorBoard's first page in their order, and the question that each one answers.
CATEGORIES = {
    LOSSES: "Does it learn? Both curves of a term fall together, but for the first steps of a solved student: it was "
    "fitted to just these windows, so training begins below held out. Held-out losses that rise while training losses "
    "fall mean too little text, seen too often (`windows/epoch`). The probe rises towards 1, much later than losses "
    "fall",
    LAYERS: "Which layer lags? Layers differ by nature; one that never moves has a wrong teacher layer or no gradient",
    _SPEED: "Is the hardware used, and for what?",
    _OPTIMIZER: "Is it stable? The gradient norm settles after the warm-up. If the loss scale keeps halving, use bf16 "
    "instead of fp16",
    _DATA: "How far is it, and is there room for a larger micro batch?",
}

# Who logs a measurement.
EVERY, TEACHER, MLM, TASK = "every run", "runs with a teacher", "masked-language modelling", "stages of a task"
OWN, CUDA = "objectives of your own", "runs on CUDA"

# Names in braces: a layer of the student, a term of an objective, a file of development rows.
_PLACEHOLDERS = {"i": r"\d+", "term": r"[^/]+?", "split": r"dev\w*"}


@dataclass(frozen=True)
class Measurement:
    """One scalar, or a kind of them where the tag has a name in braces.

    tag: of metrics.jsonl. unit: "" of a plain number. category, chart: where TensorBoard's first page shows it; ""
    where it does not. run, written: the run and the tag by which TensorBoard has it; "" for the tag itself.
    per_trainee: has the trainee's name before it where a run has several. logged_by: who logs it.
    """

    tag: str
    unit: str
    meaning: str
    category: str = ""
    chart: str = ""
    run: str = TRAINING
    written: str = ""
    per_trainee: bool = False
    logged_by: str = EVERY

    @property
    def row(self) -> str:
        """Its name in a table."""
        return self.tag.rpartition("/")[2].replace("_", " ")


# {term: what it is, who logs it}.
_TERMS = {
    "total": ("weighted sum of the terms, which is minimised", EVERY),
    "attention": ("attention-score term, unweighted: sum over layers of mean squared differences", TEACHER),
    "hidden": ("hidden-state term, unweighted: the same for layer outputs", TEACHER),
    "embedding": ("embedding term, unweighted", TEACHER),
    "mlm": ("mean cross-entropy of the masked tokens of a micro batch", MLM),
    "label": ("loss on the labels, unweighted", TASK),
    "prediction": ("loss on the teacher's logits, unweighted", TASK),
    "{term}": ("term of an objective of your own, unweighted", OWN),
}


def _losses(name: str, meaning: str, logged_by: str) -> Measurement:
    return Measurement(f"loss/{name}", "", meaning, LOSSES, name, per_trainee=True, logged_by=logged_by)


def _layer(term: str, logged_by: str) -> Measurement:
    meaning = f"share of one student layer in `loss/{term}`"
    tag = f"loss_per_layer/{term}"
    return Measurement(
        f"{tag}_{{i}}", "", meaning, LAYERS, term, "layer_{i}", tag, per_trainee=True, logged_by=logged_by
    )


def _part_of_a_step(part: str, meaning: str, logged_by: str = EVERY) -> Measurement:
    return Measurement(
        f"time/{part}", "s", meaning, _SPEED, "seconds of a step", f"time_{part}", "time/step", logged_by=logged_by
    )


def _held_out(name: str, logged_by: str) -> Measurement:
    """A curve beside that of the same loss in training."""
    tag = f"loss/{name}"
    meaning = f"`{tag}` on held-out windows"
    return Measurement(
        f"held_out/{name}", "", meaning, LOSSES, name, HELD_OUT, tag, per_trainee=True, logged_by=logged_by
    )


def _metric(name: str, unit: str, meaning: str) -> Measurement:
    """Of a task, for each file of development rows."""
    return Measurement(f"{{split}}/{name}", unit, meaning, LOSSES, name, HELD_OUT, per_trainee=True, logged_by=TASK)


# The first that fits a tag describes it: held_out/probe is no loss of a term called "probe".
MEASUREMENTS: tuple[Measurement, ...] = (
    *(_losses(name, meaning, by) for name, (meaning, by) in _TERMS.items()),
    *(_layer(name, by) for name, by in (("attention", TEACHER), ("hidden", TEACHER), ("{term}", OWN))),
    Measurement(
        "loss_per_layer/{term}",
        "",
        "part of `loss/{term}` that is no layer",
        LAYERS,
        "{term}",
        per_trainee=True,
        logged_by=OWN,
    ),
    Measurement(
        "optimizer/gradient_norm",
        "",
        "norm of the averaged gradient, before clipping",
        _OPTIMIZER,
        "gradient norm",
        per_trainee=True,
    ),
    Measurement(
        "optimizer/learning_rate",
        "",
        "learning rate of that step; Muon's, of a run with it, is `optimizer.muon_factor` times that",
        _OPTIMIZER,
        "learning rate",
        per_trainee=True,
    ),
    Measurement(
        "optimizer/loss_scale",
        "",
        "fp16's dynamic loss scale; 1 in other modes",
        _OPTIMIZER,
        "loss scale",
        per_trainee=True,
    ),
    Measurement(
        "optimizer/overflow_count",
        "steps",
        "steps so far that changed no weight: skipped by fp16 because of overflow, or by `run.skip_bad_batches`",
        _OPTIMIZER,
        "overflows",
        per_trainee=True,
    ),
    Measurement(
        "speed/tokens_per_second",
        "tokens/s",
        "over all ranks since the last logged step, without measurements and checkpoints",
        _SPEED,
        "tokens per second",
    ),
    Measurement(
        "speed/tflops",
        "TFLOP/s",
        "the models' operations, over all ranks; [what counts](monitor.md#model-flop-utilisation)",
    ),
    Measurement(
        "speed/model_flops_utilisation",
        "share",
        "time of these operations at the hardware's peak, as a share of the time taken",
        _SPEED,
        "model FLOP utilisation",
    ),
    _part_of_a_step("data", "mean since the last logged step: reading windows and moving them to the device"),
    _part_of_a_step("teacher", "the teacher's forward passes", TEACHER),
    _part_of_a_step("student", "forward and backward passes of the student, including gradient averaging meanwhile"),
    _part_of_a_step("objective", "forward and backward passes of the objective"),
    _part_of_a_step("optimizer", "remaining gradient averaging, clipping, update"),
    Measurement("windows/epoch", "passes", "passes over the training windows so far", _DATA, "epoch"),
    Measurement(
        "windows/padding_share",
        "share",
        "share of padded positions since the last logged step; 0 for windows of shards",
        _DATA,
        "padding share",
    ),
    Measurement(
        "memory/peak_bytes",
        "bytes",
        "peak memory of rank 0 so far: allocated on its GPU since training began, or resident on a CPU",
        _DATA,
        "bytes",
    ),
    Measurement("memory/resident_bytes", "bytes", "rank 0's resident memory at that step (Linux)", _DATA, "bytes"),
    Measurement(
        "memory/reserved_bytes", "bytes", "memory that torch reserves on rank 0's GPU", _DATA, "bytes", logged_by=CUDA
    ),
    Measurement(
        PROBE,
        "rank correlation",
        "rank correlation between the two models' similarities of held-out texts, be the teacher good or poor",
        LOSSES,
        "probe",
        HELD_OUT,
        per_trainee=True,
        logged_by=TEACHER,
    ),
    Measurement(
        PROJECTED,
        "rank correlation",
        "probe of the student's states after the objective's projection to the teacher's width",
        LOSSES,
        "probe",
        run="through_projection",
        written=PROBE,
        per_trainee=True,
        logged_by=TEACHER,
    ),
    Measurement(
        ACCURACY,
        "share of the masked tokens",
        "share of the held-out text's masked tokens that the model finds",
        LOSSES,
        "accuracy",
        HELD_OUT,
        per_trainee=True,
        logged_by=MLM,
    ),
    Measurement(
        MASKED,
        "tokens",
        "how many masked tokens of held-out text loss and accuracy are measured on",
        per_trainee=True,
        logged_by=MLM,
    ),
    *(_held_out(name, by) for name, (_, by) in _TERMS.items()),
    _metric("accuracy", "share of the rows", "share of the development rows whose class is right"),
    _metric("f1", "", "F1 of class 1 on the development rows"),
    _metric("matthews", "correlation", "Matthews' correlation coefficient on the development rows"),
    _metric("pearson", "correlation", "Pearson's correlation on the development rows"),
    _metric("spearman", "rank correlation", "Spearman's rank correlation on the development rows"),
    _metric("score", "", "mean of the task's metrics on the development rows; that of the first file selects"),
)
# What may be measured on held-out text beside the losses, by tag.
BESIDE_LOSSES = {each.tag: each for each in MEASUREMENTS if each.tag in (PROBE, PROJECTED, ACCURACY)}


@dataclass(frozen=True)
class Place:
    """Where TensorBoard has a scalar. category, chart: of its first page; "" where that does not show it."""

    run: str
    tag: str
    category: str = ""
    chart: str = ""


def describe(tag: str) -> tuple[Measurement, dict[str, str]] | None:
    """The measurement that a tag of metrics.jsonl is of, and what stands there for its names in braces.

    "trainee" is among these names: "" or "small/". None for a tag that no measurement has.
    """
    for pattern, measurement in _PATTERNS:
        found = pattern.fullmatch(tag)
        if found:
            return measurement, found.groupdict(default="")
    return None


def place_of(tag: str) -> Place:
    """Where TensorBoard has a scalar.

    TensorBoard has a colour for each run, not for each tag. So curves that belong in one chart are runs of one tag:
    held-out losses beside those of training, the layers of a loss, the parts of a step.
    """
    described = describe(tag)
    if described is None:
        return Place(TRAINING, tag)
    measurement, names = described
    written = names["trainee"] + measurement.written.format(**names) if measurement.written else tag
    return Place(measurement.run.format(**names), written, measurement.category, measurement.chart.format(**names))


def tag_prefix(name: str, trainees: Mapping[str, object]) -> str:
    """What stands before the tags of one of several trainees; nothing where there is only one."""
    return f"{name}/" if len(trainees) > 1 else ""


def _pattern(measurement: Measurement) -> re.Pattern[str]:
    tag = re.escape(measurement.tag)
    for name, values in _PLACEHOLDERS.items():
        tag = tag.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{values})")
    trainee = r"(?:[^/]+/)?" if measurement.per_trainee else ""
    return re.compile(f"(?P<trainee>{trainee}){tag}")


_PATTERNS = [(_pattern(measurement), measurement) for measurement in MEASUREMENTS]
