"""A student as a model of sentence-transformers: the folder's files give the projected mean, to 1e-5."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from megatinybert.config.transfer import TransferConfig
from megatinybert.models.capture import Features
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.dist import World
from megatinybert.tracking.curves import read_metrics
from megatinybert.tracking.measurements import PROBE, PROJECTED
from megatinybert.training.held_out import _Vectors, probe
from megatinybert.training.sentence_vectors import FEW_WINDOWS, Projection, read_projection, which_to_use, write_modules
from tests.helpers.toys import bert_config

TEXTS = ["w1 w2 w3", "w4", "w5 w6 w7 w8 w9 w10 w11"]


def _projected_means(student: Path, objective: Path) -> torch.Tensor:
    """Of TEXTS, by Transformers and what the objective learnt: each state projected, then the mean. (N, E)."""
    tokenizer, model = AutoTokenizer.from_pretrained(student), AutoModel.from_pretrained(student).eval()
    learnt = load_file(objective)
    linear = torch.nn.Linear(12, 24)
    linear.load_state_dict({name: learnt[f"projections.0.{name}"] for name in ("weight", "bias")})
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0] for text in TEXTS]
        return torch.stack([linear(states_SD).mean(dim=0) for states_SD in states])


def test_the_folders_files_give_the_mean_of_the_projected_states(golden_run: Path) -> None:
    student = golden_run / "student"
    modules = json.loads((student / "modules.json").read_text())
    assert [(each["idx"], each["path"]) for each in modules] == [(0, ""), (1, "1_Pooling"), (2, "2_Dense")]
    assert [each["type"].rpartition(".")[2] for each in modules] == ["Transformer", "Pooling", "Dense"]
    pooling, dense = (json.loads((student / each["path"] / "config.json").read_text()) for each in modules[1:])
    assert {key for key, value in pooling.items() if value is True} == {"pooling_mode_mean_tokens"}
    assert (pooling["word_embedding_dimension"], dense["in_features"], dense["out_features"]) == (12, 12, 24)
    assert dense["bias"] is True and dense["activation_function"] == "torch.nn.modules.linear.Identity"
    settings = json.loads((student / "sentence_bert_config.json").read_text())
    assert settings["max_seq_length"] == 16  # the positions that it was trained at

    weights = load_file(student / "2_Dense" / "model.safetensors")
    tokenizer, model = AutoTokenizer.from_pretrained(student), AutoModel.from_pretrained(student).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states_NSD = model(**batch).last_hidden_state
    mask_NS1 = batch["attention_mask"][:, :, None]
    means_ND = (states_NSD * mask_NS1).sum(dim=1) / mask_NS1.sum(dim=1)
    found = means_ND @ weights["linear.weight"].T + weights["linear.bias"]
    expected = _projected_means(student, golden_run / "objective.safetensors")
    assert expected.shape == (3, 24) and expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    projection = read_projection(student)
    assert projection is not None
    torch.testing.assert_close(projection(means_ND), expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(
    not importlib.util.find_spec("sentence_transformers"), reason="needs sentence-transformers, which is not installed"
)
def test_sentence_transformers_gives_the_same(golden_run: Path) -> None:
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    model = SentenceTransformer(str(golden_run / "student"), device="cpu")
    expected = _projected_means(golden_run / "student", golden_run / "objective.safetensors")
    torch.testing.assert_close(torch.from_numpy(model.encode(TEXTS)), expected, rtol=0, atol=1e-5)
    assert model.max_seq_length == 16


def test_a_folder_without_a_projection_has_none(tmp_path: Path) -> None:
    assert read_projection(tmp_path) is None
    projection = Projection(torch.randn(5, 3), torch.randn(5))
    write_modules(tmp_path, projection, 8)
    again = read_projection(tmp_path)
    assert again is not None
    assert torch.equal(again.weight_ED, projection.weight_ED) and torch.equal(again.bias_E, projection.bias_E)


def test_the_projection_is_that_of_the_last_layer() -> None:
    student, teacher = bert_config(2, 12), bert_config(4, 24)
    for options, number in (
        ({"projection": "per-layer"}, 2),
        ({"projection": "shared"}, 0),
        ({"projection": "per-layer", "embedding_weight": 0.0}, 1),
        ({"hidden_weight": 0.0}, None),  # the map of the embeddings is no map of the last layer
        ({"hidden_weight": 0.0, "embedding_weight": 0.0}, None),
    ):
        objective = TinyBert(TransferConfig.model_validate(options), student, teacher)
        expected = None if number is None else objective.projections[number]
        assert objective.last_projection is expected, options


def test_the_probe_through_the_projection_is_that_of_projected_states(world: World) -> None:
    states_NSD, target_NSE = torch.randn(6, 4, 12), torch.randn(6, 4, 24)
    linear = torch.nn.Linear(12, 24)
    student, teacher = (Features([states]) for states in (states_NSD, target_NSE))
    with_map, without = _Vectors(6, student, teacher, linear), _Vectors(6, student, teacher, None)
    for vectors in (with_map, without):
        vectors.add(torch.arange(6).numpy(), {"input_ids": torch.ones(6, 4)}, student, teacher)
    with torch.no_grad():
        found = with_map.scalars(world)
        expected = probe(linear(states_NSD).mean(dim=1), target_NSE.mean(dim=1))
    assert found[PROJECTED] == pytest.approx(expected) and found[PROBE] != pytest.approx(expected)
    assert without.scalars(world) == {PROBE: found[PROBE]}


def test_two_windows_have_no_probe(world: World) -> None:
    student, teacher = (Features([torch.randn(3, 4, width)]) for width in (12, 24))
    assert _Vectors(2, student, teacher, torch.nn.Linear(12, 24)).scalars(world) == {}
    assert set(_Vectors(3, student, teacher, None).scalars(world)) == {PROBE}


def test_a_run_measures_both(golden_run: Path) -> None:
    rows = [row for row in read_metrics(golden_run / "metrics.jsonl") if PROBE in row]
    assert len(rows) == 3
    assert all(PROJECTED in row and row[PROJECTED] != row[PROBE] for row in rows)


def test_what_is_better_is_told() -> None:
    assert which_to_use((0.2, 0.3), None, True, 99, 256) is None and which_to_use(None, None, True, 9, 9) is None
    better = which_to_use((0.2, 0.3), (0.1, 0.6), True, None, 256)
    assert better is not None
    assert "those through the projection are better (probe 0.600 through the projection, 0.300 without)" in better
    assert "index of the teacher's vectors" in better and "train for longer" not in better
    worse = which_to_use((0.6, 0.3), (0.1, 0.2), False, FEW_WINDOWS, 256)
    assert worse is not None
    measured = "(probe 0.200 through the projection, 0.300 without; 32 windows)"
    assert f"those of its own states, without projection, are better {measured}" in worse and "index" not in worse
    assert "than the first weights did (0.600): train for longer" in worse
    unknown = which_to_use((0.6, math.nan), (0.1, 0.2), False, 12, 256)
    assert unknown is not None and "cannot be said" in unknown


def test_a_difference_is_judged_by_what_chance_explains_on_as_many_windows() -> None:
    """Two standard deviations of docs/general.md: 0.14 on 16 windows, 0.11 on 26, 0.035 on 256."""
    for windows, others, own, told in (
        (16, 0.50, 0.37, False),
        (16, 0.50, 0.35, True),
        (26, 0.983, 0.700, True),
        (26, 0.70, 0.60, False),
        (256, 0.70, 0.67, False),
        (256, 0.70, 0.66, True),
        (None, 0.70, 0.699, True),
    ):
        said = which_to_use((0.1, own), (0.1, others), True, windows, 256)
        assert said is not None and ("are better (" in said) is told and ("cannot be said" in said) is not told


def test_more_windows_are_asked_for_where_the_option_limits_them_and_else_more_text() -> None:
    by_option, by_text, worse = (
        which_to_use((first, 0.45), (0.1, 0.5), True, 26, asked) for first, asked in ((0.3, 26), (0.3, 256), (0.9, 256))
    )
    assert (
        by_option
        and "by up to 0.11 by chance" in by_option
        and "apart, raise --data.held_out_windows above 26." in by_option
    )
    assert by_text and "give 9.8 times as much text, for the 256 of --data.held_out_windows." in by_text
    close = which_to_use((0.3, 0.474), (0.1, 0.5), True, 26, 256)  # 0.026 of 0.11: sixteen times as many windows
    assert close and "by up to 0.11 by chance. So close, either kind will do." in close and "text" not in close
    assert "train for longer" not in by_text and worse and "than the first weights did (0.900)" in worse


def test_the_windows_that_there_are_are_recorded_and_told(golden_run: Path) -> None:
    recorded = yaml.safe_load((golden_run / "config.yaml").read_text())["environment"]["held_out_windows"]
    assert recorded == 12
    assert "; 12 windows)" in (golden_run / "student" / "README.md").read_text()
