"""The report of a finished run.

A run that is not finished is refused before torch is imported.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from megatinybert.config.hub import settle_hub
from megatinybert.config.run_folder import students_in
from megatinybert.programs.commands import tensorboard_of
from megatinybert.programs.report_table import TIMED_RUNS, ModelFacts, Report, table
from megatinybert.programs.search import shared_by
from megatinybert.programs.start import say
from megatinybert.programs.unfinished import check_student, not_a_run, run_again
from megatinybert.runtime.counts import counted
from megatinybert.runtime.files import write_atomically
from megatinybert.tracking import curves
from megatinybert.tracking.figures import save_picture
from megatinybert.tracking.measurements import ACCURACY, MASKED, PROBE, PROJECTED
from megatinybert.tracking.remarks import on_first_losses, on_no_probe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH, LENGTH = 16, 128  # of the speed measurement: sentences, tokens
WARM_UP_RUNS = 2
FIRST_PAGE = "http://localhost:6006/#custom_scalars&_smoothingWeight=0"  # of TensorBoard, where its charts are ordered


def read_run(folder: Path) -> tuple[dict[str, Any], list[curves.Row]]:
    """The resolved recipe and the metrics of a finished run.

    Raises ValueError, saying what is missing, where the run did not reach its end or measured nothing.
    """
    config_file, metrics_file = folder / "config.yaml", folder / "metrics.jsonl"
    again = run_again(folder)
    results = folder / "results.json"
    if results.is_file() and not metrics_file.is_file():
        raise ValueError(f"{folder} is of a task: `launch/task.sh eval` prints its table and wrote {results}")
    if (folder / "stages").is_dir():
        raise ValueError(f"{folder} is of a task that has not reached its end: run `launch/task.sh all` as before")
    for file in (config_file, metrics_file):
        if not file.is_file():
            raise ValueError(not_a_run(folder, file.name))
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    try:
        rows = curves.read_metrics(metrics_file)
    except ValueError as problem:
        raise ValueError(f"{problem} {again}") from None
    done, wanted = int(rows[-1]["step"]) if rows else 0, config["run"]["max_steps"]
    if wanted is not None and done < wanted:
        raise ValueError(f"{folder} is unfinished: {done} of {wanted} steps are done. {again}")
    check_student(folder)
    measured = [int(row["step"]) for row in rows if "held_out/total" in row]
    if len(measured) < 2 or measured[0] != rows[0]["step"] or measured[-1] != done:
        at = ", ".join(map(str, measured)) or "none"
        raise ValueError(
            f"{metrics_file} has no held-out values at its first and last step (it has them at: {at}; "
            f"the last step is {done}). Such a run cannot be reported: train anew in another --run.output_dir"
        )
    return config, rows


def report_run(folder: Path) -> str:
    """Write report.json and loss.png of the run in `folder`. -> the same as text for a terminal.

    Raises ValueError as `read_run` does.
    """
    config, rows = read_run(folder)
    report = make_report(config, rows, folder)
    save(report, rows, folder, config)
    return (
        f"{table(report)}\n\nLoss curves: {folder / 'loss.png'}\nTensorBoard: {tensorboard_command(folder)}\n"
        f"             then open {FIRST_PAGE}"
    )


def make_report(config: Mapping[str, Any], rows: Sequence[curves.Row], folder: Path) -> Report:
    """Measure the models of the run in `folder` on this CPU. config, rows: as `read_run` gives them."""
    teacher, (student,), length = measure_models(learnt_from(config), folder / "student")
    return report_of(config, rows, folder, teacher, student, length)


def learnt_from(config: Mapping[str, Any]) -> str | None:
    """Folder or hub name of the teacher, if there was one."""
    return None if config.get("objective", {}).get("name") == "mlm" else str(config["teacher"]["model"])


def report_of(
    config: Mapping[str, Any],
    rows: Sequence[curves.Row],
    folder: Path,
    teacher: ModelFacts | None,
    student: ModelFacts,
    length: int,
) -> Report:
    """The report of models that are measured already, as `measure_models` does it."""
    import torch

    from megatinybert.training.model_card import logged_time
    from megatinybert.training.record import HELD_OUT
    from megatinybert.training.sentence_vectors import advice_of, by_chance
    from megatinybert.training.size import moves_little
    from megatinybert.training.solve.record import read_record

    first, last = rows[0], rows[-1]
    init, optimizer = config.get("student", {}).get("init"), config.get("optimizer", {})
    is_solved = init == "solved" and first["step"] == 0

    tokens_per_step = config["run"]["global_batch"] * config["data"]["sequence_length"]
    seconds, timed = logged_time(rows, tokens_per_step)

    def pair(tag: str) -> tuple[float, float] | None:
        return (first[tag], last[tag]) if tag in first and tag in last else None

    layer_map = config.get("objective", {}).get("layer_map", "uniform")
    windows, asked = config.get("environment", {}).get(HELD_OUT), config["data"].get("held_out_windows")
    trained = int(last["step"]) - curves.skipped_steps(rows)
    rate = optimizer.get("learning_rate")
    shared = shared_by(folder)
    return Report(
        steps=trained,
        tokens=trained * tokens_per_step,
        teacher=teacher,
        student=student,
        speed_up=teacher.milliseconds / student.milliseconds if teacher else None,
        speed_batch=BATCH,
        speed_length=length,
        speed_threads=torch.get_num_threads(),
        held_out={name: (first[f"held_out/{name}"], last[f"held_out/{name}"]) for name in curves.loss_names(rows)},
        probe=pair(PROBE),
        accuracy=pair(ACCURACY),
        is_solved=is_solved,
        solving=read_record(folder) if is_solved else None,
        training_seconds=seconds if timed == last["step"] else None,
        shared_top=shared[0] if shared else None,
        shared_of=shared[1] if shared else None,
        projected_probe=pair(PROJECTED),
        on_first_losses=on_first_losses(rows) if is_solved else None,
        on_no_probe=on_no_probe(windows) if teacher else None,
        masked_tokens=last.get(MASKED),
        probe_chance=by_chance(windows),
        few_steps=rate is not None and moves_little(init, optimizer["name"], trained, rate),
        advice=advice_of(first, last, layer_map, student.layers, teacher.layers, windows, asked) if teacher else None,
    )


def measure_models(teacher: str | None, *students: Path) -> tuple[ModelFacts | None, list[ModelFacts], int]:
    """Load them with plain Transformers and time them on one batch: (teacher, if any, students, tokens a sentence)."""
    settle_hub({"the teacher": teacher})
    say("loading PyTorch and Transformers")
    import torch
    from transformers.utils import logging

    from megatinybert.runtime.devices import choose_accelerator

    choose_accelerator()  # before DeepSpeed is imported, which else warns of what it chooses

    from megatinybert.runtime.progress_bar import progress_bar
    from megatinybert.runtime.stopwatch import median_seconds
    from megatinybert.runtime.waiting import Waiting

    logging.set_verbosity_error()  # else it tells of the heads that we drop on purpose
    logging.disable_progress_bar()  # of loading weights
    names = [*([teacher] if teacher else []), *map(str, students)]
    models = [_load_plain(name, with_head=teacher is None) for name in names]
    length = min(LENGTH, *(model.config.max_position_embeddings for model in models))
    vocabulary = min(model.config.vocab_size for model in models)
    input_ids = torch.randint(vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(0))
    count = (WARM_UP_RUNS + TIMED_RUNS) * len(names)
    title = f"timing one batch on {counted(len(names), 'model')}"
    with torch.inference_mode(), progress_bar(count, "pass", desc=title) as bar:

        def run(model: PreTrainedModel) -> None:
            model.base_model(input_ids=input_ids)
            bar.update()  # takes microseconds

        passes = {name: functools.partial(run, model) for name, model in zip(names, models, strict=True)}
        waiting = Waiting()
        seconds = median_seconds(passes, torch.device("cpu"), TIMED_RUNS, WARM_UP_RUNS)
        waited = waiting.share()
    facts = [_model_facts(name, model, 1000 * seconds[name], waited) for name, model in zip(names, models, strict=True)]
    return (facts[0], facts[1:], length) if teacher else (None, facts, length)


def _load_plain(name: str, with_head: bool) -> PreTrainedModel:
    """with_head: it is a masked-LM."""
    import torch
    from transformers import AutoModel, AutoModelForMaskedLM

    from megatinybert.models.configuration import read_bert_config

    config = read_bert_config(name, "model")  # drops and refuses what would run code
    model: PreTrainedModel = (AutoModelForMaskedLM if with_head else AutoModel).from_pretrained(
        name, config=config, dtype=torch.float32, weights_only=True, trust_remote_code=False
    )
    return model.eval()


def _model_facts(name: str, model: PreTrainedModel, milliseconds: float, waited: float) -> ModelFacts:
    from megatinybert.models.load import size_as_saved

    size, shape = size_as_saved(model), (model.config.num_hidden_layers, model.config.hidden_size)
    return ModelFacts(name, *shape, size.parameters, size.bytes / 1e6, milliseconds, waited)


def save(report: Report, rows: Sequence[curves.Row], folder: Path, config: Mapping[str, Any]) -> None:
    """Write report.json and loss.png into `folder`, both atomically."""
    # JSON has no NaN, which the probe of a student that gives every text one vector is.
    plain = json.loads(json.dumps(asdict(report)), parse_constant=lambda _: None)
    write_atomically(folder / "report.json", json.dumps(plain, indent=2) + "\n")
    shapes = [(each.layers, each.hidden_size) for each in (report.student, report.teacher) if each]
    picture = curves.draw(rows, curves.run_title(*shapes), report.is_solved, config["data"].get("short_rows", 0.0))
    save_picture(picture, folder / "loss.png")


def tensorboard_command(folder: Path) -> str:
    """The command that opens the run's TensorBoard.

    folder: of the run, or of one of its students.
    """
    if not (folder / "tensorboard").is_dir() and students_in(folder.parent):
        folder = folder.parent
    return tensorboard_of(folder / "tensorboard")
