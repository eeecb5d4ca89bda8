"""Models that do not fit each other are found by their files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import BertConfig, PreTrainedConfig

from megatinybert.config.schema import ConfigError
from megatinybert.config.transfer import TransferConfig
from megatinybert.general import read_arguments
from megatinybert.models.configuration import read_bert_config, student_config
from megatinybert.models.shapes import _DECIDING, _DEFAULTS, _OTHER_KEYS, misfit
from megatinybert.runtime.findings import Findings
from megatinybert.task import read_arguments as read_task_arguments


def model(folder: Path, layers: int, heads: int, **more: object) -> str:
    folder.mkdir()
    shape = {"num_hidden_layers": layers, "num_attention_heads": heads, **more}
    (folder / "config.json").write_text(json.dumps(shape))
    return str(folder)


def test_layers_and_heads_are_compared(tmp_path: Path) -> None:
    teacher, student = model(tmp_path / "teacher", 6, 12), model(tmp_path / "student", 3, 8)
    given = TransferConfig()
    assert misfit(given, "3L-312", teacher) == []
    assert "8 heads and the teacher 12" in misfit(given, student, teacher)[0]
    assert "8 heads and the teacher 12" in misfit(given, f"{student}/config.json", teacher)[0]
    assert "num_attention_heads 12 (docs/own-student.md" in misfit(given, student, teacher)[0]  # of no known vocabulary
    assert misfit(TransferConfig(attention_weight=0), student, teacher) == []
    assert "must rise strictly within 0 .. 5" in misfit(TransferConfig(layer_map=[0, 2, 6]), "3L-312", teacher)[0]
    assert "at most 2" in misfit(given, "3L-312", model(tmp_path / "small", 2, 12))[0]


def test_all_that_is_wrong_with_a_students_file_is_told_at_once(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    shape = {"num_hidden_layers": 2, "num_attention_heads": 12, "vocab_size": 100}
    (teacher / "config.json").write_text(json.dumps(shape))
    path = tmp_path / "student.json"
    path.write_text(
        json.dumps(
            {"vocab_size": 99, "hidden_size": 312, "num_hidden_layers": 3, "num_attention_heads": 7}
            | {"intermediate_sise": 600, "type_vocab_size": "2", "pooler_num_attention_heads": 12, "hidden_act": "gelu"}
        )
    )
    lines = misfit(TransferConfig(), str(path), str(teacher))
    own = f"--student.config {path}"
    assert lines[:4] == [
        f"{own}: no key is called intermediate_sise; did you mean intermediate_size?",
        f"{own}: type_vocab_size must be a whole number above 0, not '2'",
        f"{own}: hidden_size 312 is no multiple of num_attention_heads 7: take 12 heads, as the teacher has",
        f"{own} has a vocabulary of 99, the teacher 100: both read the same tokens, so set vocab_size to the teacher's",
    ]
    assert ["3 layers and the teacher 2" in lines[4], "7 heads and the teacher 12" in lines[5]] == [True, True]
    assert len(lines) == 6
    needed = "num_attention_heads 12 and vocab_size 100 (docs/own-student.md has an example), or set --objective"
    assert needed in lines[5]
    # Of a teacher that is on the hub nothing is known.
    told = misfit(TransferConfig(), str(path), "organisation/on-the-hub")
    assert told[:2] == lines[:2] and told[2].endswith(" 7: take 6 or 8 heads, or a hidden_size of 308 or 315")
    assert len(told) == 3


@pytest.mark.parametrize(
    ("width", "heads", "advice"),
    [
        (312, 10, ["take 12 heads, as the teacher has", "says num_attention_heads 12 and vocab_size 100 ("]),
        (
            *(320, 12),
            ["take the teacher's 12 heads and a hidden_size of 312 or 324, or, with --objective.attention_weight 0, 8"],
        ),
        (64, 8, ["says num_attention_heads 12 and hidden_size 60 or 72 and vocab_size 100 ("]),
        (8, 4, ["says num_attention_heads 12 and hidden_size 12 and vocab_size 100 ("]),
    ],
)
def test_the_advice_about_heads_keeps_to_all_that_they_have_to_fit(
    tmp_path: Path, width: int, heads: int, advice: list[str]
) -> None:
    teacher = model(tmp_path / "teacher", 6, 12, vocab_size=100)
    path = tmp_path / "student.json"
    shape = {"num_hidden_layers": 3, "hidden_size": width, "num_attention_heads": heads, "vocab_size": 100}
    path.write_text(json.dumps(shape))
    lines = misfit(TransferConfig(), str(path), teacher)
    assert len(lines) == len(advice)
    assert all(each in line for each, line in zip(advice, lines, strict=True)), lines


def test_keys_of_other_families_are_told_by_those_of_bert(tmp_path: Path) -> None:
    teacher, path = model(tmp_path / "teacher", 6, 12), tmp_path / "student.json"
    wanted = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
    for names in (
        *(("n_layer", "n_embd", "n_head", "n_inner"), ("n_layers", "dim", "n_heads", "hidden_dim")),
        *(("num_layers", "d_model", "num_heads", "d_ff"), ("encoder_layers", "d_model", "num_heads", "d_inner")),
    ):
        path.write_text(json.dumps(dict(zip(names, (8, 312, 12, 600), strict=True))))
        told = misfit(TransferConfig(), str(path), teacher)
        said = [f"no key is called {key}; did you mean {meant}?" for key, meant in zip(names, wanted, strict=True)]
        assert [line.partition(": ")[2] for line in told[:4]] == said
        assert "8 layers and the teacher 6" in told[4]
    # Beside the one that is meant, a key of another family decides nothing.
    path.write_text(json.dumps({"num_hidden_layers": 3, "num_attention_heads": 12, "hidden_size": 312, "dim": 7}))
    assert misfit(TransferConfig(), str(path), teacher) == []


def test_models_of_other_families_are_told_by_their_family(tmp_path: Path) -> None:
    teacher, path = model(tmp_path / "teacher", 6, 12, model_type="albert"), tmp_path / "student.json"
    path.write_text(json.dumps({"model_type": "gpt2", "n_layer": 3}))
    with pytest.raises(ValueError) as caught:  # the run says the same
        read_bert_config(teacher, "--teacher.model")
    assert misfit(TransferConfig(), str(path), teacher) == [
        f"--student.config {path} is a gpt2 model; only BERT encoders (model_type bert) can be used",
        f"--teacher.model {teacher} is an albert model; only BERT encoders (model_type bert) can be used",
    ]
    assert str(caught.value).startswith(f"--teacher.model {teacher} is an albert model;")


def test_the_run_tells_them_together_too(tmp_path: Path) -> None:
    teacher = BertConfig(vocab_size=100, num_hidden_layers=3)
    teacher.save_pretrained(tmp_path)
    path = tmp_path / "student.json"
    shape = {"model_type": "bert", "vocab_size": 99, "hidden_size": 312, "num_attention_heads": 7, "num_layers": 3}
    path.write_text(json.dumps(shape))
    findings = Findings()
    findings.attempt("student", student_config, str(path), teacher, 0.0, 0.0)
    texts = findings.texts("fail")
    assert ["num_hidden_layers?" in texts[0], "no multiple" in texts[1], "vocabulary" in texts[2]] == [True] * 3
    assert len(texts) == 3 and texts == misfit(TransferConfig(attention_weight=0), str(path), str(tmp_path))


def own(path: Path, *without: str, **more: object) -> str:
    """A student's configuration of all keys of the shape but `without`, and `more`."""
    shape = {"model_type": "bert", **_DEFAULTS, "num_hidden_layers": 4}
    path.write_text(json.dumps({key: shape[key] for key in shape if key not in without} | more))
    return str(path)


def test_a_key_that_is_none_is_told_where_one_like_it_is_lacking(tmp_path: Path) -> None:
    path, teacher = tmp_path / "student.json", str(tmp_path)
    BertConfig(num_hidden_layers=6).save_pretrained(tmp_path)
    for wrong, meant in (
        *(("num_layers", "num_hidden_layers"), ("n_layers", "num_hidden_layers"), ("num_heads", "num_attention_heads")),
        *(("hidden_sizes", "hidden_size"), ("max_positions", "max_position_embeddings"), ("vocab", "vocab_size")),
    ):
        told = misfit(TransferConfig(), own(path, meant, **{wrong: _DEFAULTS[meant] // 2}), teacher)
        assert told[0] == f"--student.config {path}: no key is called {wrong}; did you mean {meant}?"
        assert misfit(TransferConfig(), own(path, **{wrong: 1}), teacher) == []
    # What it says is looked at as what was meant.
    told = misfit(TransferConfig(), own(path, "num_hidden_layers", num_layers=8), teacher)
    assert "8 layers and the teacher 6" in told[1]
    # What is not said is Transformers'.
    assert "12 layers and the teacher 6" in misfit(TransferConfig(), own(path, "num_hidden_layers"), teacher)[0]


def test_keys_of_published_models_are_no_mistakes(tmp_path: Path) -> None:
    whole = BertConfig(num_hidden_layers=6)
    assert BertConfig().to_dict().items() >= _DEFAULTS.items()
    assert whole.to_dict().keys() >= {*_DECIDING}
    whole.save_pretrained(tmp_path)
    path = tmp_path / "student.json"
    others = {key: 1 for key in (*whole.to_dict(), *PreTrainedConfig().to_dict(), *_OTHER_KEYS) if key not in _DECIDING}
    others |= {
        "torch_dtype": "float32",
        "gradient_checkpointing": False,
        "directionality": "bidi",
        "model_type": "bert",
    }
    for lacking in _DECIDING:
        without = {key: _DEFAULTS.get(key, 1) for key in _DECIDING if key != lacking} | others
        path.write_text(json.dumps(without))
        assert not any("no key" in line for line in misfit(TransferConfig(), str(path), str(tmp_path))), lacking


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"num_hidden_layers": "3", "num_attention_heads": 12}'])
def test_what_cannot_be_read_is_left_to_who_opens_the_model(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert misfit(TransferConfig(), "3L-312", str(tmp_path)) == []
    assert misfit(TransferConfig(), "3L-312", "organisation/on-the-hub") == []


def test_both_programs_tell_it_as_the_command_line_is_read(tmp_path: Path) -> None:
    teacher = model(tmp_path / "teacher", 2, 12)
    text = tmp_path / "a.txt"
    text.write_text("text\n")
    general = ["--teacher.model", teacher, "--data.text", str(text), "--run.output_dir", str(tmp_path / "run")]
    with pytest.raises(ConfigError, match="^the student has 3 layers and the teacher 2"):
        read_arguments([*general, "--student.config", "3L-312"], look=True)
    student = own(tmp_path / "student.json", num_attention_heads=7)
    with pytest.raises(
        ConfigError, match=r"^3 problems in the configuration:\n  --student.config .*\n  the student has"
    ):
        read_arguments([*general, "--student.config", student], look=True)
    with pytest.raises(ConfigError, match=r"cannot read .*: .*broken.json is not valid JSON: Expecting ',' delimiter"):
        Path(tmp_path / "broken.json").write_text('{"num_hidden_layers": 2 "hidden_size": 24}')
        read_arguments([*general, "--student.config", str(tmp_path / "broken.json")], look=True)
    read_arguments([*general, "--student.config", "2L-192"], look=True)
    members = tmp_path / "students.yaml"
    members.write_text("[{name: a, student: {config: 2L-192}}, {name: b, student: {config: 4L-312}}]")
    with pytest.raises(ConfigError) as caught:
        read_arguments([*general, "--students", str(members)], look=True)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["b"]

    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").write_text("text\tlabel\nfine\t1\ndull\t0\n")
    task = ["--teacher.model", teacher, "--task.name", "custom", "--task.data_dir", str(tmp_path)]
    task += ["--student.config", "3L-312", "--run.output_dir", str(tmp_path / "task")]
    with pytest.raises(ConfigError, match="the student has 3 layers and the teacher 2"):
        read_task_arguments(["all", *task], look=True)
    read_task_arguments(["all", *task, "--one.epochs", "0"], look=True)
    read_task_arguments(["teacher", *task], look=True)
