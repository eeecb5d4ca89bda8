"""The model card of a task's student."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from megatinybert.config.recipe import recorded_section
from megatinybert.corpus.vocabulary import is_chinese
from megatinybert.runtime.files import write_atomically
from megatinybert.tasks.inputs import TaskInputs
from megatinybert.tasks.model_folder import records_of
from megatinybert.tasks.results import CONSTANT, STUDENT, TEACHER, kept_sentences, score_rows
from megatinybert.tasks.stage_options import PRODUCTS, TAUGHT
from megatinybert.training.front_matter import front_matter, is_for_chinese, shown_model, shown_weights
from megatinybert.training.record import ran_on

_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_LOOKED_AT = 4096  # tokens of development rows, to tell their language
_TAGS = ["distillation", "bert", "tinybert", "megatinybert"]
_HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}


def card_of(inputs: TaskInputs) -> Path:
    """Where the card of a run's student is."""
    return inputs.output / "student" / "README.md"


def write_card(inputs: TaskInputs, results: Mapping[str, Any] | None) -> None:
    """Write README.md to the finished student of a run, unless it holds the same.

    results: of results.json; None before they are measured. The student is finished by now, so whatever goes wrong here
    is said, and the run does not fail by it.
    """
    path = card_of(inputs)
    try:
        text = task_card(inputs, results)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
    except Exception as error:
        print(f"warning: the student has no model card: {error}", file=sys.stderr)


def task_card(inputs: TaskInputs, results: Mapping[str, Any] | None) -> str:
    """The text of the card. It names no folder of this machine."""
    task, teacher = inputs.task, inputs.config.teacher.model
    rows = next(iter(inputs.dev.values()))
    chinese = is_chinese(inputs.tokenizer, rows.tokens[:_LOOKED_AT])
    data = front_matter(teacher, "text-classification", _TAGS, chinese=chinese)
    data.metrics = [_HUB_METRICS.get(metric, metric) for metric in task.metrics]
    regression = task.labels is None
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        student=inputs.student,
        task="a custom task" if task.name == "custom" else task.name,
        kind="regression model" if regression else "classifier",
        remarks=results.get("remarks", []) if results else [],
        facts={name: _cell(text) for name, text in _facts(inputs, results).items()},
        columns=[TEACHER, STUDENT, CONSTANT],
        scores={name: values for name, values, _ in score_rows(results)} if results else {},
        kept=kept_sentences(results) if results else [],
        options=', function_to_apply="none"' if regression else "",
        example=_example(task.pair, is_for_chinese(data)),
        max_length=inputs.max_length,
        made_of=shown_model(teacher),
    )
    return f"{card}\n"


def _facts(inputs: TaskInputs, results: Mapping[str, Any] | None) -> dict[str, str]:
    config, task, files = inputs.config, inputs.task, inputs.files
    of = "pairs of texts" if task.pair else "texts"
    what = f"scores of {of}" if task.labels is None else f"classes of {of}: {', '.join(task.labels)}"
    names = [files.train.name, *(path.name for path in files.dev.values())]
    copies = config.augment.copies
    made = records_of({f"stage {stage}": inputs.output / PRODUCTS[stage] for stage in ("teacher", *TAUGHT)})
    steps = [f"{recorded['steps']:,} in {stage}" for stage, recorded in made.items()]
    shapes = {
        name: f"{shape.num_hidden_layers} layer{'s' * (shape.num_hidden_layers > 1)}, width {shape.hidden_size}"
        + (f", {results[name]['parameters']:,} parameters" if results else "")
        for name, shape in ((STUDENT, inputs.student), (TEACHER, inputs.teacher))
    }
    return {
        "task": f"{task.name}: {what}",
        "metric": " and ".join(task.metrics),
        STUDENT: shapes[STUDENT],
        TEACHER: f"{shown_model(config.teacher.model)}, fine-tuned: {shapes[TEACHER]}",
        "first weights": shown_weights(config.student.init),
        "data": f"{' and '.join(names)}, cut to {inputs.max_length} tokens a row",
        "rewritten copies": "none" if copies == 0 else f"{copies} of each row at most",
        **({"training": f"optimizer steps: {', '.join(steps)}; seed {config.run.seed}"} if steps else {}),
        **ran_on(recorded_section(inputs.output, "environment")),
    }


def _example(pair: bool, chinese: bool) -> str:
    """What the pipeline is given, in Python."""
    text, other = ("一个句子。", "另一个句子。") if chinese else ("A sentence.", "Another one.")
    return f'{{"text": "{text}", "text_pair": "{other}"}}' if pair else f'"{text}"'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
