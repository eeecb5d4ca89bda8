"""What a finished run came to: python -m megatinybert.report RUN_DIR

Prints a table (sizes, CPU speed-up, held-out losses before and after, probe) and writes the same numbers to
RUN_DIR/report.json and the loss curves to RUN_DIR/loss.png.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging

from megatinybert.models.load import size_of
from megatinybert.runtime.files import write_atomically
from megatinybert.tracking import curves
from megatinybert.tracking.figures import save_picture

# What is measured beside the losses, and what the table says of it.
_BESIDE_LOSSES = {
    "probe": "Probe: rank correlation between the two models' similarities of held-out texts; needs no labels.",
    "accuracy": "Accuracy: the share of the held-out text's masked tokens that the model finds.",
}
BATCH, LENGTH = 16, 128  # of the speed measurement: sentences, tokens
WARM_UP_RUNS, TIMED_RUNS = 2, 9


@dataclass(frozen=True)
class ModelFacts:
    """One encoder: its shape, its size, and the median time of one forward pass on this CPU in float32."""

    name: str
    layers: int
    hidden_size: int
    parameters: int
    megabytes: float  # of the weights in float32; 1 MB is 10^6 bytes
    milliseconds: float


@dataclass(frozen=True)
class Report:
    """The numbers of a run. Pairs are (at the first step, at the last).

    teacher, speed_up, probe: None of masked-language modelling, which has no teacher; accuracy: of that alone.
    """

    steps: int
    tokens: int  # that the student was trained on
    teacher: ModelFacts | None
    student: ModelFacts
    speed_up: float | None
    speed_batch: int  # sentences
    speed_length: int  # tokens a sentence
    speed_threads: int
    held_out: dict[str, tuple[float, float]]  # "total" and the groups of terms
    probe: tuple[float, float] | None
    accuracy: tuple[float, float] | None = None


def read_run(folder: Path) -> tuple[dict[str, Any], list[curves.Row]]:
    """The resolved recipe and the metrics of a finished run.

    Raises ValueError, saying what is missing, where the run did not reach its end or measured nothing.
    """
    config_file, metrics_file = folder / "config.yaml", folder / "metrics.jsonl"
    again = "Run the same training command again: it continues from the newest checkpoint."
    for file in (config_file, metrics_file):
        if not file.is_file():
            raise ValueError(f"{folder} is not the output folder of a run: it holds no {file.name}.")
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    try:
        rows = curves.read_metrics(metrics_file)
    except ValueError as problem:
        raise ValueError(f"{problem} {again}") from None
    done, wanted = int(rows[-1]["step"]) if rows else 0, config["run"]["max_steps"]
    if wanted is not None and done < wanted:
        raise ValueError(f"{folder} is unfinished: {done} of {wanted} steps are done. {again}")
    if not (folder / "student" / "config.json").is_file():
        raise ValueError(f"{folder} is unfinished: it holds no student/. {again}")
    measured = [int(row["step"]) for row in rows if "held_out/total" in row]
    if len(measured) < 2 or measured[0] != rows[0]["step"] or measured[-1] != done:
        at = ", ".join(map(str, measured)) or "none"
        raise ValueError(
            f"{metrics_file} has no held-out values at its first and last step (it has them at: {at}; "
            f"the last step is {done}). {again}"
        )
    return config, rows


def make_report(folder: Path) -> Report:
    """Read the run in `folder` and measure its models on this CPU. Raises ValueError as `read_run` does."""
    config, rows = read_run(folder)
    learnt_from = None if config.get("objective", {}).get("name") == "mlm" else config["teacher"]["model"]
    teacher, student, length = measure_models(learnt_from, folder / "student")
    first, last = rows[0], rows[-1]

    def beside_losses(name: str) -> tuple[float, float] | None:
        tag = f"held_out/{name}"
        return (first[tag], last[tag]) if tag in first else None

    return Report(
        steps=int(last["step"]),
        tokens=int(last["step"]) * config["run"]["global_batch"] * config["data"]["sequence_length"],
        teacher=teacher,
        student=student,
        speed_up=teacher.milliseconds / student.milliseconds if teacher else None,
        speed_batch=BATCH,
        speed_length=length,
        speed_threads=torch.get_num_threads(),
        held_out={name: (first[f"held_out/{name}"], last[f"held_out/{name}"]) for name in curves.loss_names(rows)},
        probe=beside_losses("probe"),
        accuracy=beside_losses("accuracy"),
    )


def measure_models(teacher: str | None, student: Path) -> tuple[ModelFacts | None, ModelFacts, int]:
    """Load them with plain Transformers and time them on one batch: (teacher, if any, student, tokens a sentence).

    They run in turn, so that whatever else the machine does meanwhile falls on both.
    """
    names = [*([teacher] if teacher else []), str(student)]
    models = [AutoModel.from_pretrained(name, dtype=torch.float32).eval() for name in names]
    length = min(LENGTH, *(model.config.max_position_embeddings for model in models))
    vocabulary = min(model.config.vocab_size for model in models)
    input_ids = torch.randint(vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(0))
    seconds: list[list[float]] = [[] for _ in models]
    with torch.inference_mode():
        for _ in range(WARM_UP_RUNS + TIMED_RUNS):
            for model, times in zip(models, seconds, strict=True):
                start = time.perf_counter()
                model(input_ids=input_ids)
                times.append(time.perf_counter() - start)
    medians = [1000 * statistics.median(times[WARM_UP_RUNS:]) for times in seconds]
    facts = [_model_facts(*each) for each in zip(names, models, medians, strict=True)]
    return facts[0] if teacher else None, facts[-1], length


def _model_facts(name: str, model: PreTrainedModel, milliseconds: float) -> ModelFacts:
    size, shape = size_of(model), (model.config.num_hidden_layers, model.config.hidden_size)
    return ModelFacts(name, *shape, size.parameters, size.bytes / 1e6, milliseconds)


def table(report: Report) -> str:
    """The report as text for a terminal."""
    beside = {name: pair for name in _BESIDE_LOSSES if (pair := getattr(report, name)) is not None}
    turns = ", the two models in turn" if report.teacher else ""
    rows = [
        *_sizes(report),
        ("", "", "", ""),
        ("on held-out text", "at the start", "at the end", ""),
        *(
            (f"loss: {name}", f"{before:#.4g}", f"{after:#.4g}", f"{_ratio(after, before):.3f} of the start")
            for name, (before, after) in report.held_out.items()
        ),
        *(
            (name, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}")
            for name, (before, after) in beside.items()
        ),
    ]
    lines = [f"{name:<22}{left:>14}{right:>14}   {note}".rstrip() for name, left, right, note in rows]
    lines += [
        "",
        f"Trained for {report.steps:,} steps on {report.tokens / 1e6:,.2f} M tokens.",
        f"CPU time: median of {TIMED_RUNS} float32 runs of {report.speed_batch} sentences of "
        f"{report.speed_length} tokens on {report.speed_threads} threads{turns}.",
        *(_BESIDE_LOSSES[name] for name in beside),
    ]
    return "\n".join(lines)


def _sizes(report: Report) -> list[tuple[str, str, str, str]]:
    """The part of the table about the models: one column of numbers where there is no teacher."""
    teacher, student = report.teacher, report.student
    facts = {
        "layers x width": lambda model: f"{model.layers} x {model.hidden_size}",
        "parameters": lambda model: f"{model.parameters:,}",
        "weights in float32": lambda model: f"{model.megabytes:.1f} MB",
        "CPU time of one batch": lambda model: f"{model.milliseconds:.1f} ms",
    }
    if teacher is None:
        return [("", "model", "", ""), *((name, show(student), "", "") for name, show in facts.items())]
    notes = {
        "parameters": f"{teacher.parameters / student.parameters:.1f} x smaller",
        "CPU time of one batch": f"{report.speed_up:.1f} x faster",
    }
    rows = [(name, show(teacher), show(student), notes.get(name, "")) for name, show in facts.items()]
    return [("", "teacher", "student", ""), *rows]


def _ratio(after: float, before: float) -> float:
    return after / before if before else math.nan


def save(report: Report, rows: Sequence[curves.Row], folder: Path) -> None:
    """Write report.json and loss.png into `folder`, each whole or not at all."""
    # JSON has no NaN, which the probe of a student that gives every text one vector is.
    plain = json.loads(json.dumps(asdict(report)), parse_constant=lambda _: None)
    write_atomically(folder / "report.json", json.dumps(plain, indent=2) + "\n")
    title = f"A {report.student.layers} x {report.student.hidden_size} "
    if report.teacher:
        title += f"student distilled from a {report.teacher.layers} x {report.teacher.hidden_size} teacher"
    else:
        title += "BERT trained by masked-language modelling"
    save_picture(curves.draw(rows, title), folder / "loss.png")


def tensorboard_command(folder: Path) -> str:
    """The command that opens the run's TensorBoard, with the program of the environment we run in."""
    program = Path(sys.prefix) / "bin" / "tensorboard"
    if sys.prefix == sys.base_prefix or not program.is_file():
        return f"tensorboard --logdir {folder / 'tensorboard'}"
    inside = program.is_relative_to(Path.cwd())
    return f"{program.relative_to(Path.cwd()) if inside else program} --logdir {folder / 'tensorboard'}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m megatinybert.report", description="Sum up a finished run.")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's run.output_dir")
    folder = parser.parse_args(arguments).run_dir
    logging.disable_progress_bar()  # of loading weights
    try:
        report = make_report(folder)
        save(report, read_run(folder)[1], folder)
    except (OSError, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(table(report))
    print(f"\nLoss curves: {folder / 'loss.png'}\nTensorBoard: {tensorboard_command(folder)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
