"""The model card of a student: what it is, what it was taught and at what cost, how to load it, and its loss curves."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import BertConfig, BertModel, PreTrainedConfig

from megatinybert.config.general import DataConfig, GeneralConfig
from megatinybert.models.initialize import STUDENT_FOLDER
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import size_of
from megatinybert.runtime.files import write_atomically
from megatinybert.tracking import curves
from megatinybert.tracking.curves import Row
from megatinybert.tracking.figures import save_picture

PICTURE = "loss.png"


@dataclass(frozen=True)
class Provenance:
    """Where a student comes from. teacher: None of masked-language modelling, which has none. steps: optimizer steps in
    all; windows: those of one epoch.
    """

    config: GeneralConfig
    teacher: BertConfig | None
    student: PreTrainedConfig
    steps: int
    windows: int


def write_card(output: Path, run: Provenance) -> None:
    """Add README.md and loss.png to the exported student of the run whose output folder is `output`.

    The student is finished by now, so whatever goes wrong here is said, and the run does not fail by it.
    """
    folder = output / STUDENT_FOLDER
    rows: list[Row] = []
    environment: dict[str, Any] = {}
    with _no_failure("the model card says nothing of the metrics"):
        rows = curves.read_metrics(output / "metrics.jsonl")
    with _no_failure("the model card says nothing of the machine"):
        environment = yaml.safe_load((output / "config.yaml").read_text(encoding="utf-8"))["environment"]
    if rows:
        with _no_failure("the model card has no picture"):
            save_picture(curves.draw(rows, _words(run).picture), folder / PICTURE)
    with _no_failure("the student has no model card"):
        card = model_card(run, rows, environment, picture=(folder / PICTURE).is_file())
        write_atomically(folder / "README.md", card)


def model_card(run: Provenance, rows: Sequence[Row], environment: Mapping[str, Any], picture: bool) -> str:
    """The text of README.md. rows: metrics, as far as there are any; environment: of config.yaml."""
    words = _words(run)
    front: dict[str, Any] = {"library_name": "transformers", "tags": words.tags}
    if words.made_of and not Path(words.made_of).exists():  # what was loaded, but from no folder: a name on the hub
        front["base_model"] = words.made_of
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# A {run.student.num_hidden_layers}-layer, {run.student.hidden_size}-wide BERT{words.role}",
        "",
        *words.about,
        "",
        *([f"![Losses in training and on held-out text over the optimizer steps]({PICTURE})", ""] if picture else []),
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in _facts(run, rows, environment).items()),
        "",
        *_held_out(rows, words),
        "## Use",
        "",
        "```python",
        f"from transformers import {words.loader}, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("path/to/student")',
        f'model = {words.loader}.from_pretrained("path/to/student")',
        words.call,
        "```",
        "",
        "## Licence",
        "",
        *words.licence,
    ]
    return "\n".join(lines) + "\n"


def logged_time(rows: Sequence[Row], tokens_per_step: int) -> tuple[float, int]:
    """(seconds spent on steps, how many steps those are), over all sessions of a run.

    Each logged line holds the speed since the one before. Steps that an interruption undid are not in the metrics, and
    neither are measurements, checkpoints and starting up.
    """
    seconds, steps = 0.0, 0
    for before, row in itertools.pairwise(rows):
        speed = row.get("speed/tokens_per_second", 0.0)
        if speed > 0:
            done = int(row["step"] - before["step"])
            seconds, steps = seconds + done * tokens_per_step / speed, steps + done
    return seconds, steps


@dataclass(frozen=True)
class _Words:
    """What a card says of an objective. facts: rows of its table. beside: what is measured beside the losses."""

    tags: list[str]
    made_of: str | None
    role: str
    about: list[str]
    picture: str
    facts: dict[str, str]
    beside: str
    measured: list[str]
    loader: str
    call: str
    licence: list[str]


def _words(run: Provenance) -> _Words:
    return _words_of_distillation(run, run.teacher) if run.teacher else _words_of_mlm(run)


def _words_of_distillation(run: Provenance, teacher: BertConfig) -> _Words:
    config, objective = run.config, run.config.objective
    layers = resolve_layer_map(objective.layer_map, run.student.num_hidden_layers, teacher.num_hidden_layers)
    return _Words(
        tags=["distillation", "bert", "tinybert", "megatinybert"],
        made_of=config.teacher.model,
        role=" student",
        about=[
            "General distillation by MegaTinyBERT: this encoder learnt the inner states of its teacher on text without",
            "labels. It knows no task yet: fine-tune it, or distil it further on a task. Its pooler is untrained.",
        ],
        picture=f"A {_shape(run.student)} student distilled from a {_shape(teacher)} teacher",
        facts={
            "student": _sizes(run.student),
            "teacher": f"{config.teacher.model}: {_sizes(teacher)}",
            "objective": f"{objective.name}: weight {objective.attention_weight:g} of the attention scores, "
            f"{objective.hidden_weight:g} of the hidden states, {objective.embedding_weight:g} of the embeddings",
            "layer map": f"teacher layers {', '.join(map(str, layers))} of 0 to {teacher.num_hidden_layers - 1}",
            "projection": objective.projection,
        },
        beside="probe",
        measured=[
            "The losses compare student and teacher. The probe is the rank correlation, from -1 to 1, between the two",
            "models' similarities of held-out texts.",
        ],
        loader="AutoModel",
        call='hidden_states = model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state',
        licence=[
            "The student is made from its teacher, so the teacher's licence applies to it. Before you publish it, read",
            "that licence and the terms of the text, and add `license:` to the lines at the top.",
        ],
    )


def _words_of_mlm(run: Provenance) -> _Words:
    config, init = run.config, run.config.student.init
    made_of = None if init == "random" else init
    about = "Masked-language modelling by MegaTinyBERT: this model learnt to find masked tokens of a text."
    frozen = [f"Its encoder is that of {init}, as it was; its head alone was trained."]
    terms = ["Before you publish it, read the terms of the text, and add `license:` to the lines at the top."]
    inherited = [f"The model is made from {init}, so the licence of that applies to it, too."]
    return _Words(
        tags=["fill-mask", "bert", "megatinybert"],
        made_of=made_of,
        role="",
        about=[about, *(frozen if config.mlm.train == "head" else [])],
        picture=f"A {_shape(run.student)} BERT trained by masked-language modelling",
        facts={
            "model": _sizes(run.student),
            "objective": f"mlm: {100 * config.mlm.probability:g} % of the tokens to be found",
            "trained": "the whole model" if config.mlm.train == "whole" else "the masked-LM head",
        },
        beside="accuracy",
        measured=[
            "The loss is the cross-entropy of the masked tokens; the accuracy is the share of them that is found."
        ],
        loader="AutoModelForMaskedLM",
        call='logits = model(**tokenizer(f"A {tokenizer.mask_token}.", return_tensors="pt")).logits',
        licence=[*(inherited if made_of else []), *terms],
    )


def _facts(run: Provenance, rows: Sequence[Row], environment: Mapping[str, Any]) -> dict[str, str]:
    config = run.config
    length, batch = config.data.sequence_length, config.run.global_batch
    seconds, timed = logged_time(rows, batch * length)
    facts = _words(run).facts | {
        "first weights": config.student.init,
        "data": f"{_corpora(config.data)}: {run.windows:,} windows of {length} tokens, {run.windows * length:,} in all",
        "training": f"{run.steps:,} steps of {batch:,} windows: {run.steps * batch * length:,} tokens seen, "
        f"{run.steps * batch / run.windows:.2f} passes over the data",
        "optimizer": f"{config.optimizer.name}, learning rate up to {config.optimizer.learning_rate:g}",
    }
    if timed:
        part = "" if timed == run.steps else f" for {timed:,} of the steps, the others were not logged here"
        facts["training time"] = f"{_duration(seconds)}{part} (without start-up, measurements and checkpoints)"
    if environment:
        ranks = environment["world_size"]
        facts["hardware"] = f"{'1 rank' if ranks == 1 else f'{ranks} ranks, each'} on {environment['hardware']}"
        names = ("megatinybert", "torch", "deepspeed", "transformers")
        commit = f" (commit {environment['git']})" if environment["git"] else ""
        facts["software"] = ", ".join(
            f"{name} {environment[name]}{commit if name == names[0] else ''}" for name in names
        )
    return facts


def _corpora(data: DataConfig) -> str:
    names = data.shards or data.text or []
    if data.mixture:
        names = [f"{name} (weight {weight:g})" for name, weight in zip(names, data.mixture, strict=True)]
    return ", ".join(names)


def _held_out(rows: Sequence[Row], words: _Words) -> list[str]:
    """The first and the last measurement on held-out text, as a table."""
    measured = [row for row in rows if "held_out/total" in row]
    if not measured:
        return []
    shown = [measured[0], *measured[1:][-1:]]
    tags = {f"loss: {name}": f"held_out/{name}" for name in curves.loss_names(measured)}
    tags[words.beside] = f"held_out/{words.beside}"
    return [
        "## On held-out text",
        "",
        "| | " + " | ".join(f"step {row['step']:,}" for row in shown) + " |",
        "| --- |" + " ---: |" * len(shown),
        *(f"| {name} | " + " | ".join(f"{row[tag]:#.4g}" for row in shown) + " |" for name, tag in tags.items()),
        "",
        *words.measured,
        "",
    ]


def _shape(model: PreTrainedConfig) -> str:
    return f"{model.num_hidden_layers} x {model.hidden_size}"


def _sizes(model: PreTrainedConfig) -> str:
    assert isinstance(model, BertConfig)
    with torch.device("meta"):  # counts weights without making them
        size = size_of(BertModel(model, add_pooling_layer=False))
    return (
        f"{model.num_hidden_layers} layers, width {model.hidden_size}, {model.num_attention_heads} heads, "
        f"{size.parameters:,} parameters without pooler ({size.bytes / 1e6:,.1f} MB in float32)"
    )


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


@contextlib.contextmanager
def _no_failure(consequence: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is: the student is there
        print(f"warning: {consequence}: {error}", file=sys.stderr)
