"""The model card of a student."""

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
from huggingface_hub import ModelCard
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedConfig

from megatinybert.config.general import SettledConfig
from megatinybert.config.run_folder import STUDENT_FOLDER
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.models.load import size_as_saved
from megatinybert.runtime.counts import counted
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.stopwatch import duration
from megatinybert.tracking import curves
from megatinybert.tracking.figures import save_picture
from megatinybert.tracking.measurements import ACCURACY, BESIDE_LOSSES, MASKED, PROBE, PROJECTED
from megatinybert.tracking.remarks import Row, on_first_losses, on_no_probe, on_what_got_worse, row_of
from megatinybert.training.front_matter import front_matter, is_for_chinese, shown_model, shown_text, shown_weights
from megatinybert.training.optimizers import rates_in_words
from megatinybert.training.record import HELD_OUT, ran_on
from megatinybert.training.sentence_vectors import advice_of, by_chance, read_projection
from megatinybert.training.size import moves_little
from megatinybert.training.solve.record import SolvingRecord, read_record, what_solving_gave

PICTURE = "loss.png"
_TEMPLATE = Path(__file__).with_name("model_card.md.jinja")


@dataclass(frozen=True)
class _Words:
    """What a card says of an objective. pipeline: what the hub lists it under. role: after "BERT". losses: what they
    compare. beside: the tags of what is measured beside them. loader: of Transformers. call: a line of Python, with
    a place for one of the `examples`: a text, in Python, in English and in Chinese.
    """

    pipeline: str
    tags: list[str]
    role: str
    about: str
    losses: str
    beside: list[str]
    loader: str
    call: str
    examples: tuple[str, str]


_WORDS = {
    "distillation": _Words(
        pipeline="feature-extraction",
        tags=["distillation", "bert", "tinybert", "megatinybert"],
        role=" student",
        about="MegaTinyBERT distilled this encoder from its teacher on text without labels (general distillation). "
        "It is not trained for any task yet: fine-tune it, or distil it further on a task. Its pooler is untrained.",
        losses="The losses compare student and teacher.",
        beside=[PROBE, PROJECTED],
        loader="AutoModel",
        call='hidden_states = model(**tokenizer(%s, return_tensors="pt")).last_hidden_state',
        examples=('"A sentence."', '"一个句子。"'),
    ),
    "mlm": _Words(
        pipeline="fill-mask",
        tags=["fill-mask", "bert", "megatinybert"],
        role="",
        about="MegaTinyBERT trained this model by masked-language modelling: it predicts masked tokens of a text.",
        losses="The loss is the cross-entropy of the masked tokens.",
        beside=[ACCURACY],
        loader="AutoModelForMaskedLM",
        call='logits = model(**tokenizer(%s, return_tensors="pt")).logits',
        examples=('f"A {tokenizer.mask_token}."', 'f"一个{tokenizer.mask_token}。"'),
    ),
}


@dataclass(frozen=True)
class Provenance:
    """Where a student comes from. teacher: None of masked-language modelling, which has none. steps: optimizer steps in
    all; windows: those of one epoch. beside: names of students trained with it. chinese: as of `front_matter`.
    """

    config: SettledConfig
    teacher: BertConfig | None
    student: PreTrainedConfig
    steps: int
    windows: int
    beside: tuple[str, ...] = ()
    chinese: bool = False


def write_card(output: Path, run: Provenance) -> None:
    """Add README.md and loss.png to the exported student of the run whose output folder is `output`.

    The student is finished by now, so whatever goes wrong here is said, and the run does not fail by it.
    """
    folder = output / STUDENT_FOLDER
    rows: list[Row] = []
    environment: dict[str, Any] = {}
    solving: SolvingRecord | None = None
    with _no_failure("the model card says nothing of the metrics"):
        rows = curves.read_metrics(output / "metrics.jsonl")
    with _no_failure("the model card says nothing of the machine"):
        environment = yaml.safe_load((output / "config.yaml").read_text(encoding="utf-8"))["environment"]
    with _no_failure("the model card says nothing of the cost of solving"):
        solving = read_record(output) if _is_solved(run) else None
    if rows:
        with _no_failure("the model card has no picture"):
            title = curves.run_title(*((m.num_hidden_layers, m.hidden_size) for m in (run.student, run.teacher) if m))
            save_picture(curves.draw(rows, title, _is_solved(run), run.config.data.short_rows), folder / PICTURE)
    with _no_failure("the student has no model card"):
        projected = read_projection(folder) is not None
        card = model_card(run, rows, environment, (folder / PICTURE).is_file(), solving, projected)
        write_atomically(folder / "README.md", card)


def model_card(
    run: Provenance,
    rows: Sequence[Row],
    environment: Mapping[str, Any],
    picture: bool,
    solving: SolvingRecord | None = None,
    projected: bool = False,
) -> str:
    """The text of README.md. rows: metrics, as far as there are any; environment: of config.yaml; solving: what
    solved.json holds, where the student was solved; projected: whether the folder is a model of sentence-transformers
    with a projection.
    """
    words, made_of = _words(run), _made_of(run)
    measured = [row for row in rows if "held_out/total" in row]
    beside = [BESIDE_LOSSES[tag] for tag in words.beside if measured and tag in measured[-1]]
    tags = {f"loss: {name}": f"held_out/{name}" for name in curves.loss_names(measured)} if measured else {}
    tags_of_hub = [*words.tags, *(["sentence-transformers"] if projected else [])]
    data = front_matter(made_of, words.pipeline, tags_of_hub, chinese=run.chinese)
    example = words.examples[is_for_chinese(data)]
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        words=words,
        student=run.student,
        made_of=shown_model(made_of) if made_of else None,
        picture=PICTURE if picture else None,
        facts=_facts(run, rows, environment),
        call=words.call % example,
        example=example,
        measured=[*measured[:1], *measured[1:][-1:]],
        tags=tags,
        beside=beside,
        names={each.tag: row_of(each.tag, measured[-1].get(MASKED)) for each in beside},
        projected=projected,
        advice=_advice(run, measured, environment.get(HELD_OUT)) if projected else None,
        remarks=_remarks(run, rows, measured, solving, environment.get(HELD_OUT)) if measured else [],
    )
    return f"{card}\n"


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


def _advice(run: Provenance, measured: Sequence[Row], windows: int | None) -> str | None:
    """Which of the student's sentence vectors to use for what. windows: that it was measured on."""
    if not measured or run.teacher is None:
        return None
    layers, of = run.student.num_hidden_layers, run.teacher.num_hidden_layers
    layer_map, asked = run.config.objective.layer_map, run.config.data.held_out_windows
    return advice_of(measured[0], measured[-1], layer_map, layers, of, windows, asked)


def _is_solved(run: Provenance) -> bool:
    return run.teacher is not None and run.config.student.init == "solved"


def _remarks(
    run: Provenance, rows: Sequence[Row], measured: Sequence[Row], solving: SolvingRecord | None, windows: int | None
) -> list[str]:
    """What to say of the table. measured: those of the rows that were measured on so many held-out windows, at least
    one.
    """
    first, last = measured[0], measured[-1]
    solved: list[str | None] = []
    if _is_solved(run) and first["step"] == 0:
        gave = what_solving_gave(solving, first["held_out/total"], first.get(PROBE))
        solved = [f"{gave}: the column of step 0.", on_first_losses(rows)]
    optimizer = run.config.optimizer
    few_steps = moves_little(run.config.student.init, optimizer.name, run.steps, optimizer.learning_rate)
    losses = {name: (first[f"held_out/{name}"], last[f"held_out/{name}"]) for name in curves.loss_names(measured)}
    beside = {tag: (first[tag], last[tag]) for tag in BESIDE_LOSSES if tag in first and tag in last}
    no_probe = on_no_probe(windows) if run.teacher else None
    return list(filter(None, [*solved, no_probe, on_what_got_worse(losses, beside, few_steps, by_chance(windows))]))


def _words(run: Provenance) -> _Words:
    return _WORDS["distillation" if run.teacher else "mlm"]


def _made_of(run: Provenance) -> str | None:
    """The model whose weights or answers the student has learnt from."""
    init = run.config.student.init
    if run.teacher:
        return run.config.teacher.model
    return None if init == "random" else init


def _facts_of_distillation(run: Provenance, teacher: BertConfig) -> dict[str, str]:
    objective = run.config.objective
    models = {
        "student": _sizes(run.student, BertModel),
        "teacher": f"{shown_model(str(run.config.teacher.model))}: {_sizes(teacher, BertModel)}",
    }
    if objective.name != "tinybert":  # of one's own, which may read other options
        return models | {"objective": objective.name}
    layers = resolve_layer_map(objective.layer_map, run.student.num_hidden_layers, teacher.num_hidden_layers)
    return models | {
        "objective": f"{objective.name}: weight {objective.attention_weight:g} of the attention scores, "
        f"{objective.hidden_weight:g} of the hidden states, {objective.embedding_weight:g} of the embeddings",
        "layer map": f"teacher layers {', '.join(map(str, layers))} of 0 to {teacher.num_hidden_layers - 1}",
        "projection": objective.projection,
    }


def _facts_of_mlm(run: Provenance) -> dict[str, str]:
    mlm = run.config.mlm
    head = f"the masked-LM head alone; the encoder is that of {shown_model(run.config.student.init)}, unchanged"
    return {
        "model": _sizes(run.student, BertForMaskedLM),
        "objective": f"mlm: {100 * mlm.probability:g} % of the tokens to be found",
        "trained": "the whole model" if mlm.train == "whole" else head,
    }


def _facts(run: Provenance, rows: Sequence[Row], environment: Mapping[str, Any]) -> dict[str, str]:
    config = run.config
    length, batch = config.data.sequence_length, config.run.global_batch
    seconds, timed = logged_time(rows, batch * length)
    skipped = curves.skipped_steps(rows)
    trained = run.steps - skipped
    left_out = f", {skipped:,} of which changed no weight, as loss or gradient was not finite" if skipped else ""
    own = _facts_of_distillation(run, run.teacher) if run.teacher else _facts_of_mlm(run)
    facts = own | {
        "first weights": shown_weights(config.student.init),
        "data": f"{shown_text(config.data)}: {counted(run.windows, 'window')} of {length} tokens, "
        f"{run.windows * length:,} in all, [CLS], [SEP] and overlaps of windows included",
        "training": f"{counted(run.steps, 'step')} of {counted(batch, 'window')}{left_out}: "
        f"{trained * batch * length:,} tokens seen, {trained * batch / run.windows:.2f} passes over the data",
        "optimizer": rates_in_words(config.optimizer),
    }
    if timed:
        part = "" if timed == run.steps else f" for {timed:,} of the steps, the others were not logged here"
        together = f", of this student and {', '.join(run.beside)} together" if run.beside else ""
        facts["training time"] = f"{duration(seconds)}{part}{together} (without start-up, measurements and checkpoints)"
    return facts | ran_on(environment)


def _sizes(model: PreTrainedConfig, kind: type[BertModel | BertForMaskedLM]) -> str:
    """kind: what its folder holds."""
    assert isinstance(model, BertConfig)
    with torch.device("meta"):  # counts weights without making them
        size = size_as_saved(kind(model))
    part = "pooler" if kind is BertModel else "masked-LM head"
    return (
        f"{counted(model.num_hidden_layers, 'layer')}, width {model.hidden_size}, "
        f"{counted(model.num_attention_heads, 'head')}, "
        f"{size.parameters:,} parameters with {part} ({size.bytes / 1e6:,.1f} MB in float32)"
    )


@contextlib.contextmanager
def _no_failure(consequence: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is: the student is there
        print(f"warning: {consequence}: {error}", file=sys.stderr)
