"""The finished models compared, and predictions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import BertForSequenceClassification

from megatinybert.config.missing import unreadable_file
from megatinybert.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint
from megatinybert.models.load import size_of
from megatinybert.programs.ending import ending_of_task
from megatinybert.runtime.counts import counted
from megatinybert.tasks.baseline import constant_scores, only_answer
from megatinybert.tasks.card import write_card
from megatinybert.tasks.classifiers import load_fine_tuned
from megatinybert.tasks.confusion import confusion_figure, count_confusions, scatter_figure
from megatinybert.tasks.formats import read_records
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.latency import compare_latency
from megatinybert.tasks.metrics import compute_metrics, predictions_of
from megatinybert.tasks.predict import logits_of
from megatinybert.tasks.prediction_files import check_table, free_file, record_input, write_predictions
from megatinybert.tasks.results import STUDENT, TEACHER, ModelResult, merge_results, results_table
from megatinybert.tasks.row_checks import check_unlabelled
from megatinybert.tasks.skipped import Skipped, reporter
from megatinybert.tasks.stage_options import better_student
from megatinybert.tasks.submission import write_submission
from megatinybert.tasks.table import Task
from megatinybert.tracking.figures import FONT_ADVICE, drawable, save_picture


def evaluate(
    inputs: TaskInputs, teacher: str, student: str, device: torch.device, about_rows: Sequence[str] = ()
) -> None:
    """Measure both models on the development rows: results.json, confusion.png, TensorBoard, and a table on stdout. The
    run's own student gets them in its model card.

    teacher, student: fine-tuned folders. about_rows: what has to be said of the rows beside the scores.
    """
    task, output = inputs.task, inputs.output
    models = {
        TEACHER: load_fine_tuned(teacher, "teacher", task, inputs.config.teacher.labels),
        STUDENT: load_fine_tuned(student, "predict", task, inputs.config.predict.labels),
    }
    _check_reads(models[STUDENT], student, inputs)
    for model in models.values():
        model.to(device)  # type: ignore[arg-type]
    print(f"comparing {len(models)} models on {counted(sum(map(len, inputs.dev.values())), 'row')}", file=sys.stderr)
    logits = {name: {s: logits_of(m, rows, device) for s, rows in inputs.dev.items()} for name, m in models.items()}
    gold = {split: rows.gold for split, rows in inputs.dev.items()}
    first = next(iter(inputs.dev))
    predictions = {name: predictions_of(task, logits[name][first]) for name in models}
    print("timing them, a row at a time", file=sys.stderr)
    latencies = compare_latency(models, inputs.dev[first])
    results = {
        name: ModelResult(
            {split: compute_metrics(task, values, gold[split]) for split, values in logits[name].items()},
            size_of(model),
            latencies[name],
            only_answer(task, predictions[name]),
        )
        for name, model in models.items()
    }
    constant = {split: constant_scores(task, labels) for split, labels in gold.items()}
    advice = better_student(inputs.config)
    merged = merge_results(output / "results.json", task.name, results, constant, about_rows, advice)
    table = results_table(merged)
    image, legend = _picture(task, predictions, gold[first])
    save_picture(image, output / "confusion.png")
    with SummaryWriter(str(output / "stages" / "eval" / "tensorboard")) as writer:
        writer.add_text("results", "\n".join(f"    {line}" for line in table.splitlines()))
        writer.add_image("confusion", image, dataformats="HWC")
        for name, result in results.items():
            for split, metrics in result.metrics.items():
                for metric, value in metrics.items():
                    writer.add_scalar(f"results/{split}_{metric}_{name}", value)
    is_own = Path(student) == output / "student"
    if is_own:
        write_card(inputs, merged)
    print(f"{table}\n\nresults: {output / 'results.json'}, {output / 'confusion.png'}")
    if legend:
        names = ", ".join(f"{number} {label}" for number, label in legend.items())
        print(f"confusion.png has numbers for labels that no font of this machine can draw: {names}; {FONT_ADVICE}")
    if is_own:
        print(ending_of_task(output))


def _picture(
    task: Task, predictions: Mapping[str, np.ndarray], gold: np.ndarray
) -> tuple[np.ndarray, Mapping[str, str]]:
    """(the models' confusion matrices, or predicted against given scores, as RGB; labels that it has numbers for)."""
    if task.labels is None:
        return scatter_figure(predictions, gold), {}
    counts = {name: count_confusions(values, gold, task.classes) for name, values in predictions.items()}
    labels, legend = drawable(task.labels)
    return confusion_figure(counts, labels), legend


def predict(inputs: TaskInputs, student: str, device: torch.device) -> None:
    """Answer a file, or the task's test files, as `--predict.*` asks.

    Raises ValueError where there is nothing to answer.
    """
    config, task = inputs.config.predict, inputs.task
    if config.input:
        if problem := unreadable_file("--predict.input", Path(config.input)):
            raise ValueError(problem)
        files = {Path(config.input).stem: Path(config.input)}
    elif inputs.files.test:
        files = inputs.files.test
    else:
        raise ValueError(
            f"--task.data_dir {inputs.config.task.data_dir} holds no test file of {task.name}: "
            "name a file with --predict.input"
        )
    if config.output and len(files) > 1:
        raise ValueError(
            f"--predict.output {config.output} is one file, and there are {len(files)} to answer: leave it out"
        )
    folder = inputs.output / "predictions"
    targets = {split: _target(inputs, folder, split, path) for split, path in files.items()}
    model = load_fine_tuned(student, "predict", task, config.labels)
    _check_reads(model, student, inputs)
    model.to(device)  # type: ignore[arg-type]
    for split, path in files.items():
        rows = inputs.rows(path, split, with_labels=False)
        for text in check_unlabelled(task, path):
            print(f"warning: {text}", file=sys.stderr)
        target, passed_over, skipped = targets[split], Skipped(), Skipped()
        # Rows that cannot be used are refused above, unless they are to be skipped.
        records = read_records(task, path, False, reporter(path, passed_over))
        columns = check_table(records, path) if target.suffix == ".tsv" else []
        print(f"answering {counted(len(rows), 'row')} with {student}", file=sys.stderr)
        logits = logits_of(model, rows, device)
        replaced = ", in place of earlier ones" if target.exists() else ""
        records = read_records(task, path, False, reporter(path, skipped))
        write_predictions(task, records, logits, target, columns, with_lines=inputs.config.task.skip_bad_rows)
        if config.input and not config.output:
            record_input(target, path)
        print(f"{len(rows):,} predictions: {target}{replaced}")
        if config.input or split not in task.submission:
            continue
        if skipped.count:
            text = f"warning: no file for submission of {split}: {skipped.count:,} of its rows are left out"
            print(text, file=sys.stderr)
        else:
            print(f"for submission: {write_submission(task, split, predictions_of(task, logits), folder)}")


def _target(inputs: TaskInputs, folder: Path, split: str, path: Path) -> Path:
    """The file of an input's predictions."""
    config = inputs.config.predict
    if config.output:
        return Path(config.output)
    return free_file(folder, path) if config.input else folder / f"{split}.tsv"


def _check_reads(model: BertForSequenceClassification, name: str, inputs: TaskInputs) -> None:
    """Raise ValueError where --predict.model cannot read what the run's tokenizer writes."""
    problems, shape = [], model.config
    if shape.vocab_size < inputs.special.vocab_size:
        problems.append(f"it has {shape.vocab_size:,} embeddings, the tokenizer {inputs.special.vocab_size:,} ids")
    if shape.max_position_embeddings < inputs.max_length:
        problems.append(f"it has {shape.max_position_embeddings} positions, --task.max_length is {inputs.max_length}")
    if inputs.segments and shape.type_vocab_size < 2:
        problems.append("it knows no second segment")
    own = Path(name)
    if (own / "tokenizer.json").is_file() or (own / "vocab.txt").is_file():
        theirs, ours = (tokenizer_fingerprint(each) for each in (load_tokenizer(name), inputs.tokenizer))
        if theirs != ours:
            problems.append(f"its tokenizer is another one than {inputs.tokenizer_name}")
    if problems:
        text = f"--predict.model {name} does not fit --teacher.model and its tokenizer: {'; '.join(problems)}"
        raise ValueError(f"{text}. Give the options of the run that made it")
