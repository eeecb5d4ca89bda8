"""Checkpoints in the published layout: body, projections, classifier and tokenizer of each kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    BertTokenizerFast,
)

from megatinybert.config.load import load_config
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.models.capture import run_captured
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_encoder
from megatinybert.models.published import has_classifier, load_classifier
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.programs.open_models import _build_trainee
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Findings
from megatinybert.training.first_weights import projections_left_aside
from megatinybert.training.trainee import build_trainee
from tests.helpers.intruder import Intruder
from tests.helpers.published_layout import write_published
from tests.helpers.toys import VOCABULARY, bert_config, padded_batch, recipe, write_teacher


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return padded_batch(4)


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def body_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("bert."): weight for name, weight in weights.items() if name.startswith("bert.")}


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("projections", ["v1", "v2"])
@pytest.mark.parametrize("classes", [None, 3])
def test_the_body_is_loaded_whole(
    tmp_path: Path, classes: int | None, projections: Literal["v1", "v2"], old_names: bool
) -> None:
    expected = body_of(write_published(tmp_path, projections, classes, old_names=old_names))
    loaded = load_encoder(str(tmp_path), "--student.init").state_dict()
    assert len(loaded) == 5 + 2 * 16  # embeddings, two layers
    for name, weight in loaded.items():
        assert torch.equal(weight, expected[name]), name


def test_a_configuration_without_its_family_is_a_berts(tmp_path: Path) -> None:
    write_published(tmp_path, layers=3)
    config = read_bert_config(str(tmp_path), "--student.config")
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("bert", 3, 12)
    edit_config(tmp_path, type_vocab_size=None)
    with pytest.raises(ValueError, match="--student.config .*: cannot read a model configuration there: Unrecognized"):
        read_bert_config(str(tmp_path), "--student.config")
    edit_config(tmp_path, type_vocab_size=1, model_type="roberta")
    with pytest.raises(ValueError, match="is a roberta model"):
        read_bert_config(str(tmp_path), "--student.config")


def test_its_vocabulary_is_a_tokenizer(tmp_path: Path) -> None:
    write_published(tmp_path)
    text = "W1 w94 unheard [SEP] w5"
    ids = load_tokenizer(tmp_path).encode(text).ids
    library = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    assert ids == library(text, split_special_tokens=True)["input_ids"]
    assert ids[:3] == [VOCABULARY.index(token) for token in ("[CLS]", "w1", "w94")]


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("projections", ["v1", "v2"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_a_published_classifier_is_relu_tanh_and_a_linear_map(
    tmp_path: Path, batch: dict[str, Tensor], classes: int, projections: Literal["v1", "v2"], old_names: bool
) -> None:
    weights = write_published(tmp_path, projections, classes, old_names=old_names)
    body = BertModel(bert_config(2, 12, 4), add_pooling_layer=False).eval()
    assert body.load_state_dict(body_of(weights), strict=False).missing_keys == []
    first_BD = body(**batch).last_hidden_state[:, 0]
    pooled_BD = torch.tanh(first_BD @ weights["bert.pooler.dense.weight"].T + weights["bert.pooler.dense.bias"])
    expected = torch.relu(pooled_BD) @ weights["classifier.weight"].T + weights["classifier.bias"]

    model = load_classifier(str(tmp_path), "--teacher.model").eval()
    logits = run_captured(model, batch).logits
    assert logits is not None and logits.shape == (4, classes) and logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    assert (model(**batch).logits - expected).abs().max() > 0.01  # which is what plain Transformers makes of it


def test_the_relu_survives_saving(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    write_published(tmp_path / "published", classes=2)
    model = load_classifier(str(tmp_path / "published"), "--teacher.model").eval()
    model.save_pretrained(tmp_path / "saved")
    again = load_classifier(str(tmp_path / "saved"), "--teacher.model").eval()
    assert again.config.relu_before_classifier
    with torch.no_grad():
        torch.testing.assert_close(run_captured(again, batch).logits, run_captured(model, batch).logits)


def write_classifier(folder: Path, **more: object) -> BertForSequenceClassification:
    torch.manual_seed(5)
    model = BertForSequenceClassification(bert_config(layers=2, initializer_range=0.2, **more)).eval()
    model.save_pretrained(folder)
    return model


def test_other_classifiers_give_the_logits_of_transformers(tmp_path: Path, batch: dict[str, Tensor]) -> None:
    names = {0: "bad", 1: "fair", 2: "good"}
    expected = write_classifier(tmp_path / "theirs", id2label=names)(**batch).logits
    ours = load_classifier(str(tmp_path / "theirs"), "--teacher.model").eval()
    torch.testing.assert_close(run_captured(ours, batch).logits, expected, rtol=0, atol=1e-5)
    assert ours.config.id2label == names
    ours.save_pretrained(tmp_path / "ours")
    assert "relu_before_classifier" not in json.loads((tmp_path / "ours" / "config.json").read_text())
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(plain(**batch).logits, expected, rtol=0, atol=1e-5)


def test_a_classifier_is_found_in_every_kind_of_file(tmp_path: Path) -> None:
    write_classifier(tmp_path / "safetensors")
    write_teacher(tmp_path / "teacher")
    assert has_classifier(str(tmp_path / "safetensors")) and not has_classifier(str(tmp_path / "teacher"))
    for old_names in (False, True):
        write_published(tmp_path / f"task-{old_names}", classes=2, old_names=old_names)
        write_published(tmp_path / f"general-{old_names}", old_names=old_names)
        assert has_classifier(str(tmp_path / f"task-{old_names}"))
        assert not has_classifier(str(tmp_path / f"general-{old_names}"))


def test_a_model_without_classifier_is_not_fine_tuned(tmp_path: Path) -> None:
    write_published(tmp_path)
    with pytest.raises(ValueError, match=f"--teacher.model {tmp_path}: .* no classifier.weight: .* not fine-tuned"):
        load_classifier(str(tmp_path), "--teacher.model")


def test_a_classifier_of_tokens_is_refused(tmp_path: Path) -> None:
    BertForTokenClassification(bert_config(layers=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no weights for bert.pooler.dense.bias, .*not a whole BertForSequenceClass"):
        load_classifier(str(tmp_path), "--teacher.model")


def test_names_for_another_number_of_outputs_are_refused(tmp_path: Path) -> None:
    write_published(tmp_path, classes=3)
    edit_config(tmp_path, id2label={"0": "no", "1": "yes"})
    with pytest.raises(ValueError, match=r"config.json names 2 labels \(no, yes\), its classifier has 3 outputs"):
        load_classifier(str(tmp_path), "--teacher.model")
    edit_config(tmp_path, id2label={"0": "no", "1": "yes", "2": "perhaps"})
    assert load_classifier(str(tmp_path), "--teacher.model").config.id2label[2] == "perhaps"


def test_bad_files_are_a_users_mistake(tmp_path: Path) -> None:
    write_published(tmp_path / "model", classes=2)
    file = tmp_path / "model" / "pytorch_model.bin"
    torch.save({"classifier.weight": torch.zeros(2, 12), "more": Intruder(tmp_path / "was here")}, file)
    with pytest.raises(ValueError, match="its weights cannot be read: Weights only load failed"):
        has_classifier(str(tmp_path / "model"))
    assert not (tmp_path / "was here").exists()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="its weights cannot be read"):
        load_classifier(str(tmp_path / "model"), "--teacher.model")
    file.unlink()
    for name in (tmp_path / "model", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=f"{name}: neither model.safetensors nor pytorch_model.bin is there"):
            has_classifier(str(name))


def trainee_from(tmp_path: Path, **overrides: object) -> tuple[BertModel, TinyBert]:
    """The student and objective that a run of general distillation starts with from tmp_path/published."""
    published = str(tmp_path / "published")
    options = {"student.config": published, "student.init": published} | overrides
    config = load_config(recipe(tmp_path, **options))
    teacher = read_bert_config(str(tmp_path / "teacher"), "--teacher.model")
    trainee = build_trainee(config, teacher)
    assert isinstance(trainee.student, BertModel) and isinstance(trainee.objective, TinyBert)
    return trainee.student, trainee.objective


@pytest.mark.parametrize("projections", ["v1", "v2"])
@pytest.mark.parametrize("classes", [None, 2])
def test_general_distillation_goes_on_from_it(
    tmp_path: Path, projections: Literal["v1", "v2"], classes: int | None
) -> None:
    weights = write_published(tmp_path / "published", projections, classes)
    kind = "shared" if projections == "v1" else "per-layer"
    student, objective = trainee_from(tmp_path, **{"objective.projection": kind})
    for name, weight in student.state_dict().items():
        assert torch.equal(weight, weights[f"bert.{name}"]), name
    sources = ["fit_dense"] if projections == "v1" else ["fit_denses.0", "fit_denses.1", "fit_denses.2"]
    assert len(objective.projections) == len(sources)
    for projection, source in zip(objective.projections, sources, strict=True):
        assert torch.equal(projection.weight, weights[f"{source}.weight"])
        assert torch.equal(projection.bias, weights[f"{source}.bias"])
        assert projection.weight.requires_grad


def test_one_projection_for_all_starts_one_for_each(tmp_path: Path) -> None:
    weights = write_published(tmp_path / "published", "v1")
    _, objective = trainee_from(tmp_path, **{"objective.projection": "per-layer"})
    assert len(objective.projections) == 3
    for projection in objective.projections:
        assert torch.equal(projection.weight, weights["fit_dense.weight"])


def test_projections_belong_to_their_points(tmp_path: Path) -> None:
    weights = write_published(tmp_path / "published", "v2")
    _, objective = trainee_from(tmp_path, **{"objective.projection": "per-layer", "objective.embedding_weight": 0})
    first, second = objective.projections
    assert torch.equal(first.weight, weights["fit_denses.1.weight"])
    assert torch.equal(second.weight, weights["fit_denses.2.weight"])


def test_projections_for_each_layer_do_not_become_one(tmp_path: Path) -> None:
    write_published(tmp_path / "published", "v2")
    with pytest.raises(ValueError, match="--student.init .*published: .* set --objective.projection per-layer"):
        trainee_from(tmp_path, **{"objective.projection": "shared"})


def test_projections_to_another_teachers_width_are_left_aside_and_told(tmp_path: Path) -> None:
    weights = write_published(tmp_path / "published", "v2", teacher_width=36)
    student, objective = trainee_from(tmp_path)
    assert torch.equal(student.state_dict()["embeddings.LayerNorm.weight"], weights["bert.embeddings.LayerNorm.weight"])
    assert [tuple(projection.weight.shape) for projection in objective.projections] == [(24, 12)]
    init = str(tmp_path / "published")
    text = projections_left_aside(objective, init)
    assert text is not None and f"--student.init {init}: its projections lead to a teacher of width 36" in text
    assert "this one is 24 wide: they are left aside" in text

    config = load_config(recipe(tmp_path, **{"student.config": init, "student.init": init}))
    findings = Findings()
    assert _build_trainee(
        config,
        read_bert_config(str(tmp_path / "teacher"), "--teacher.model"),
        World(0, 1, torch.device("cpu")),
        findings,
    )
    assert findings.texts("warn") == [text]
    write_published(tmp_path / "published", "v2", teacher_width=24)
    assert projections_left_aside(objective, init) is None
    assert projections_left_aside(objective, "solved") is None


def test_a_missing_projection_is_named(tmp_path: Path) -> None:
    weights = write_published(tmp_path / "published", "v2")
    del weights["fit_denses.2.bias"]
    torch.save(weights, tmp_path / "published" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="holds projections, but no fit_denses.2.bias"):
        trainee_from(tmp_path, **{"objective.projection": "per-layer"})
