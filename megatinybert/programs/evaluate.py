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
from megatinybert.models.load import Digest, size_of
from megatinybert.programs.ending import ending_of_task
from megatinybert.runtime.counts import counted
from megatinybert.tasks.baseline import constant_scores, only_answer
from megatinybert.tasks.card import write_card
from megatinybert.tasks.classifiers import load_fine_tuned
from megatinybert.tasks.confusion import confusion_figure, count_confusions, scatter_figure
from megatinybert.tasks.few_steps import on_few_steps
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.latency import compare_latency
from megatinybert.tasks.logits import logits_of
from megatinybert.tasks.metrics import compute_metrics, predictions_of
from megatinybert.tasks.model_folder import records_of
from megatinybert.tasks.prediction_files import check_table, free_file, record_input, write_predictions
from megatinybert.tasks.reading.formats import read_records
from megatinybert.tasks.reading.row_checks import check_unlabelled
from megatinybert.tasks.reading.skipped import Skipped, reporter
from megatinybert.tasks.reading.wrong_files import nothing_to_answer
from megatinybert.tasks.results import STUDENT, TEACHER, ModelResult, known_results, merge_results, results_table
from megatinybert.tasks.stage_options import better_student
from megatinybert.tasks.submission import write_submission
from megatinybert.tracking.attention_maps import legend_text
from megatinybert.tracking.figures import FONT_ADVICE, drawable, save_picture

_MANY_ROWS = 20  # so many may be of one class by chance
_NUMBERED = "numbers: of id2label in the model's config.json"  # below a picture whose labels no font here can draw


def evaluate(
    inputs: TaskInputs, teacher: str, student: str, device: torch.device, about_rows: Sequence[str] = ()
) -> None:
    """Measure both models on the development rows: results.json, confusion.png, TensorBoard, and a table on stdout. The
    run's own student gets them in its model card. What was measured before, with nothing changed since, is told again.

    teacher, student: fine-tuned folders. about_rows: what has to be said of the rows beside the scores.
    """
    task, output = inputs.task, inputs.output
    models = {
        TEACHER: load_fine_tuned(teacher, "teacher", task, inputs.config.teacher.labels),
        STUDENT: load_fine_tuned(student, "predict", task, inputs.config.predict.labels),
    }
    _check_reads(models[STUDENT], student, inputs)
    is_own, advice = Path(student) == output / "student", better_student(inputs.config)
    folders = {"teacher": Path(teacher), **({"one": output / "student-one"} if is_own else {}), "two": Path(student)}
    about = [*about_rows, *on_few_steps(records_of(folders))]
    facts = {
        **{name: Digest.of(model).checksum for name, model in models.items()},
        "rows": {split: rows.identity for split, rows in inputs.dev.items()},
        "labels": list(task.labels or ()),
        "about": about,
        "advice": advice,
        "device": device.type,
        "threads": torch.get_num_threads(),
    }
    path, picture = output / "results.json", output / "confusion.png"
    legend = drawable(task.labels)[1] if task.labels else {}
    results = known_results(path, facts) if picture.is_file() else None
    if results:
        text = f"models, rows and options are those of {path}: to measure them again, remove that file"
        print(text, file=sys.stderr)
    else:
        found, image = _measure(inputs, models, device)
        constant = {split: constant_scores(task, rows.gold) for split, rows in inputs.dev.items()}
        counts = {split: len(rows) for split, rows in inputs.dev.items()}
        results = merge_results(path, task.name, found, constant, counts, about, advice, facts)
        save_picture(image, picture)
        _write_events(output, found, results_table(results), image, legend_text(legend))
    if is_own:
        write_card(inputs, results)
    print(f"{results_table(results)}\n\nresults: {path}, {picture}")
    if legend:
        names = ", ".join(f"{number} {label}" for number, label in legend.items())
        print(f"confusion.png has numbers for labels that no font of this machine can draw: {names}; {FONT_ADVICE}")
    if is_own:
        print(ending_of_task(output))


def _measure(
    inputs: TaskInputs, models: Mapping[str, BertForSequenceClassification], device: torch.device
) -> tuple[dict[str, ModelResult], np.ndarray]:
    """(results by model, a picture of the answers to the first split)."""
    task = inputs.task
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
    if task.labels is None:
        return results, scatter_figure(predictions, gold[first])
    counts = {name: count_confusions(values, gold[first], task.classes) for name, values in predictions.items()}
    drawn, legend = drawable(task.labels)
    return results, confusion_figure(counts, drawn, _NUMBERED if legend else "")


def _write_events(output: Path, results: Mapping[str, ModelResult], table: str, image: np.ndarray, legend: str) -> None:
    """What TensorBoard shows of a comparison. legend: Markdown, of numbers in the picture; "" without any."""
    with SummaryWriter(str(output / "stages" / "eval" / "tensorboard")) as writer:
        writer.add_text("results", "\n".join(f"    {line}" for line in table.splitlines()))
        if legend:
            writer.add_text("labels of the matrices", legend)
        writer.add_image("confusion", image, dataformats="HWC")
        for name, result in results.items():
            for split, metrics in result.metrics.items():
                for metric, value in metrics.items():
                    writer.add_scalar(f"results/{split}_{metric}_{name}", value)


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
        raise ValueError(nothing_to_answer(inputs.config.task))
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
        columns = check_table(task, records, path) if target.suffix == ".tsv" else None
        print(f"answering {counted(len(rows), 'row')} with {student}", file=sys.stderr)
        logits = logits_of(model, rows, device)
        replaced = ", in place of earlier ones" if target.exists() else ""
        records = read_records(task, path, False, reporter(path, skipped))
        write_predictions(task, records, logits, target, columns, with_lines=inputs.config.task.skip_bad_rows)
        if config.input and not config.output:
            record_input(target, path)
        print(f"{counted(len(rows), 'prediction')}: {target}{replaced}")
        answers = predictions_of(task, logits)
        alike = only_answer(task, answers)
        if alike is not None and len(rows) > _MANY_ROWS:
            text = (
                f"warning: all {len(rows):,} rows of {path} are answered {alike!r}: look whether they can be alike, or"
            )
            print(f"{text} {student} has not learnt to tell them apart (the action eval compares it)", file=sys.stderr)
        if config.input or split not in task.submission:
            continue
        if skipped.count:
            text = f"warning: no file for submission of {split}: {skipped.count:,} of its rows are left out"
            print(text, file=sys.stderr)
        else:
            print(f"for submission: {write_submission(task, split, answers, folder)}")


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
