"""Shapes of models, read off their files alone: what does not fit is told before anything heavy is loaded."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from megatinybert.config.nearest import closest
from megatinybert.config.run_folder import model_of
from megatinybert.config.schema import STUDENTS_FOLDER, ConfigError
from megatinybert.config.transfer import TransferConfig
from megatinybert.models.layer_map import fitting_layers, widths_for

# Of a BERT whose configuration does not say them.
_DEFAULTS = {
    **{"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2},
}
# Other keys of published BERTs, which are like those of the shape or of what else decides the model's answers.
_OTHER_KEYS = {
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "position_embedding_type"),
    *("output_attentions", "output_hidden_states", "output_past", "tie_word_embeddings", "add_cross_attention"),
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
    *("emb_size", "num_labels", "layer_norm_type", "vocab_type"),
}
_DECIDING = (*_DEFAULTS, "hidden_act", "layer_norm_eps")
# What GPT-2, DistilBERT, T5, XLNet and BART call these.
_OF_OTHER_FAMILIES = {
    **dict.fromkeys(("n_layer", "n_layers", "num_layers", "encoder_layers"), "num_hidden_layers"),
    **dict.fromkeys(("n_head", "n_heads", "num_heads", "encoder_attention_heads"), "num_attention_heads"),
    **dict.fromkeys(("n_embd", "dim", "d_model"), "hidden_size"),
    **dict.fromkeys(("n_inner", "hidden_dim", "d_ff", "d_inner", "encoder_ffn_dim"), "intermediate_size"),
    **dict.fromkeys(("n_positions", "n_ctx"), "max_position_embeddings"),
    **dict.fromkeys(("activation_function", "activation", "ff_activation", "feed_forward_proj"), "hidden_act"),
    "layer_norm_epsilon": "layer_norm_eps",
}


@dataclass
class Shape:
    """As much of a model's configuration as is compared here."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int | None
    vocab_size: int | None


def misfit(config: TransferConfig, student: str, teacher: str, option: str = "--student.config") -> list[str]:
    """What is wrong with a student's shape, and why it does not fit the teacher, as the run would say, a line each; []
    where nothing is, or nothing is known yet.

    student: a shipped shape, or a model's folder or config.json. teacher: a folder. Nothing is known of names on the
    hub. option: which names the student.
    """
    shipped = _content(STUDENTS_FOLDER / f"{student}.json")
    small, large = shipped or _of_folder(student), _of_folder(teacher)
    named = {f"{option} {student}": small, f"--teacher.model {teacher}": large}
    others = [other_family(name, str(kind)) for name, each in named.items() if (kind := _family(each)) != "bert"]
    if others:
        return others  # whose keys have other names and meanings
    problems = [] if shipped else shape_mistakes(student, small, _with_defaults(large), option)
    ours, theirs = _shape(small), _shape(large)
    if ours and theirs:
        try:
            fitting_layers(config, ours, theirs)
        except ConfigError as error:
            problems += error.problems
    return problems


def shape_named(config: str | None, init: str) -> tuple[str, str]:
    """(A shipped shape, a model or the file that gives a student its shape; the option that names it). config, init: of
    the student; of a run it is the model that it has left.
    """
    if config:
        return config, "--student.config"
    return model_of(init), "--student.init"


def shape_in_files(student: str) -> list[int] | None:
    """Layers, width, heads and intermediate width of a shipped shape, or of a model's folder or config.json; None where
    no file says them.
    """
    content = _with_defaults(_content(STUDENTS_FOLDER / f"{student}.json") or _of_folder(student))
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    shape = [content[key] for key in keys if _is_count(content.get(key))]
    return shape if len(shape) == len(keys) else None


def other_family(model: str, kind: str) -> str:
    """The refusal of a model that is no BERT. model: the option that names it, and its name."""
    article = "an" if kind[:1] in "aeio" else "a"
    return f"{model} is {article} {kind} model; only BERT encoders (model_type bert) can be used"


def shape_mistakes(
    name: str, content: Mapping[str, Any], teacher: Mapping[str, Any], option: str = "--student.config"
) -> list[str]:
    """What is wrong within a student's configuration, a line each. name: of the option, which is --student.init where
    its weights are taken, too. content: by key, as it is written. teacher: the same of the teacher, as far as it is
    known.
    """
    problems = [
        f"{option} {name}: no key is called {key}; did you mean {meant}?" for key, meant in _misspelt(content).items()
    ]
    content = _with_defaults(content)
    for key in _DEFAULTS:
        if key in content and not _is_count(content[key]):
            problems.append(f"{option} {name}: {key} must be a whole number above 0, not {content[key]!r}")
    width, heads = (content.get(key) for key in ("hidden_size", "num_attention_heads"))
    if _is_count(width) and _is_count(heads) and width % heads:
        problems.append(
            f"{option} {name}: hidden_size {width} is no multiple of num_attention_heads {heads}: "
            f"{_heads_that_fit(width, heads, teacher.get('num_attention_heads'))}"
        )
    own, theirs = content.get("vocab_size"), teacher.get("vocab_size")
    if _is_count(own) and _is_count(theirs) and own != theirs:
        problems.append(
            f"{option} {name} has a vocabulary of {own:,}, the teacher {theirs:,}: both read the same tokens, so "
            + ("set vocab_size to the teacher's" if option == "--student.config" else "take a student of this teacher")
        )
    return problems


def _heads_that_fit(width: int, heads: int, of_teacher: Any) -> str:
    """What to do about a width that so many heads do not divide. of_teacher: its number of heads, where it is known:
    attention is compared head by head.
    """
    if _is_count(of_teacher) and width % of_teacher == 0:
        return f"take {of_teacher} heads, as the teacher has"
    fits = [count for count in range(1, width + 1) if width % count == 0]
    near = " or ".join(map(str, sorted(sorted(fits, key=lambda count: abs(count - heads))[:2])))
    if not _is_count(of_teacher):
        return f"take {near} heads, or a hidden_size of {widths_for(heads, width)}"
    return (
        f"take the teacher's {of_teacher} heads and a hidden_size of {widths_for(of_teacher, width)}, or, with "
        f"--objective.attention_weight 0, {near} heads"
    )


def _misspelt(content: Mapping[str, Any]) -> dict[str, str]:
    """Keys that are none, each with the one that was probably meant: one that is lacking."""
    meant: dict[str, str] = {}
    for key in content:
        known = _OF_OTHER_FAMILIES.get(key)
        if known and known not in {*content, *meant.values()}:
            meant[key] = known
        elif key not in (*_DECIDING, *_OTHER_KEYS):
            likely = closest(_DECIDING, functools.partial(_pair, key))
            if likely and likely not in content:
                meant[key] = likely
    return meant


def _with_defaults(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a configuration that says it is a BERT's gives a model, misspelt keys taken as they were meant."""
    meant = {**content, **{name: content[key] for key, name in _misspelt(content).items()}}
    return _DEFAULTS | meant if content.get("model_type") == "bert" else meant


def _of_folder(name: str) -> Mapping[str, Any]:
    path = Path(name).expanduser()
    return _content(path / "config.json") or _content(path)  # --student.config may name the file


def _content(path: Path) -> Mapping[str, Any]:
    """{} where it is no file of a configuration, which whoever opens the model tells."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _family(content: Mapping[str, Any]) -> Any:
    return content.get("model_type") or "bert"  # TinyBERT's authors write none


def _shape(content: Mapping[str, Any]) -> Shape | None:
    content = _with_defaults(content)
    layers, heads = content.get("num_hidden_layers"), content.get("num_attention_heads")
    width, tokens = (value if _is_count(value) else None for value in map(content.get, ("hidden_size", "vocab_size")))
    return Shape(layers, heads, width, tokens) if _is_count(layers) and _is_count(heads) else None


def _pair(key: str, other: str) -> tuple[str, str]:
    return other, key


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
