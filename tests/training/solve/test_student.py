"""Solved students: the teacher itself where it fits, near it where it does not, and the same however it is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from megatinybert.models.capture import ATTENTION_NAME, Features, run_captured
from megatinybert.models.load import build_student
from megatinybert.runtime.dist import World
from megatinybert.training.solve import calibration as calibration_module
from megatinybert.training.solve.calibration import CUT, WHOLE, Calibration
from megatinybert.training.solve.student import Solution, solve_student
from tests.helpers.toys import VOCABULARY, bert_config

ALONE = World(0, 1, torch.device("cpu"))
LENGTH = 16


class Windows:
    """Random tokens; with padding, rows of three lengths."""

    samples = 400

    def __init__(self, padded: bool = False, extra: int = 0) -> None:
        self._padded, self._extra = padded, extra

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.stack([np.random.default_rng(int(p)).integers(5, len(VOCABULARY), LENGTH) for p in positions])
        segments = np.tile((np.arange(LENGTH) >= LENGTH // 2).astype(np.int64), (len(positions), 1))
        batch = {"input_ids": rows.astype(np.int64), "token_type_ids": segments}
        if self._padded:
            lengths = np.array([LENGTH - 5 * (int(p) % 3) for p in positions])
            batch["attention_mask"] = (np.arange(LENGTH) < lengths[:, None]).astype(np.int64)
            batch = {name: np.pad(array, ((0, 0), (0, self._extra))) for name, array in batch.items()}
        return batch


def teacher(**more: Any) -> BertModel:
    settings: dict[str, Any] = {"initializer_range": 0.2} | more
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        config = bert_config(**settings)
        config._attn_implementation = ATTENTION_NAME
        model = BertModel(config, add_pooling_layer=False).eval()
        for name, weight in model.named_parameters():
            if "LayerNorm" in name:  # as trained ones are
                torch.nn.init.normal_(weight, mean=float("weight" in name), std=0.2)
    return model


def solved(
    source: BertModel, shape: BertConfig, layer_map: list[int], tokens: int = 4000, data: Any = None, seed: int = 0
) -> tuple[BertModel, Solution]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        student = build_student(shape)
    calibration = Calibration(data or Windows(), tokens, LENGTH, 8, ALONE, CUT if data is None else WHOLE)
    return student, solve_student(student, source, layer_map, calibration, seed, ALONE)


def features(model: BertModel, data: Any = None) -> Features:
    batch = {name: torch.from_numpy(array) for name, array in (data or Windows()).batch(np.arange(300, 316)).items()}
    with torch.no_grad():
        return run_captured(model, batch)


def error(mine: Tensor, theirs: Tensor) -> float:
    return float((mine - theirs).norm() / (theirs - theirs.mean(dim=(0, 1))).norm())


def test_a_student_of_the_teachers_shape_is_the_teacher() -> None:
    source = teacher()
    student, solution = solved(source, source.config, [0, 1, 2, 3])
    mine, theirs = features(student), features(source)
    for ours, states in zip(mine.hidden_states, theirs.hidden_states, strict=True):
        assert error(ours, states) < 1e-4
    for layer in range(4):
        scores = [f.queries[layer] @ f.keys[layer].transpose(-1, -2) for f in (mine, theirs)]
        assert float((scores[0] - scores[1]).norm() / scores[1].norm()) < 1e-4
    eye = torch.eye(24, dtype=torch.float64)
    torch.testing.assert_close(solution.projection.weight_XY, eye, atol=1e-3, rtol=0)
    assert max(solution.errors) < 1e-8 and solution.kept == 1.0


def test_a_smaller_student_is_nearer_to_its_teacher_than_chance() -> None:
    """Through the projection that is solved with it, on rows that it was not solved on."""
    source = teacher(layers=4)
    student, solution = solved(source, bert_config(2, 12, 4), [1, 3])
    theirs, random = features(source), build_student(bert_config(2, 12, 4)).eval()
    solution_errors, random_errors = [], []
    for point, depth in enumerate((0, 2, 4)):
        for model, errors in ((student, solution_errors), (random, random_errors)):
            own = features(model).hidden_states[point].double()
            linear = solution.projections[point]
            errors.append(error(own @ linear.weight_XY + linear.bias_Y, theirs.hidden_states[depth].double()))
    assert all(mine < 0.9 for mine in solution_errors)
    assert all(mine < 0.7 * other for mine, other in zip(solution_errors, random_errors, strict=True))
    assert 4000 <= solution.tokens < 4400 and len(solution.errors) == 3


@pytest.mark.parametrize("room", [1 << 30, 20_000])
def test_students_that_share_a_calibration_are_those_that_have_their_own(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit, with room for all states or for a few; and with room the teacher computes each state once."""
    monkeypatch.setattr(calibration_module, "_CACHED_BYTES", room)
    source, calls = teacher(layers=4), [0, 0]
    wanted = [(bert_config(2, 12, 4), [1, 3]), (bert_config(1, 8, 4), [2]), (bert_config(2, 12, 4), [0, 1])]
    alone = [solved(source, shape, layer_map, tokens=1000) for shape, layer_map in wanted]

    def count(number: int) -> None:
        calls[number] += 1

    source.embeddings.LayerNorm.register_forward_hook(lambda *_: count(0))
    source.encoder.layer[0].attention.output.LayerNorm.register_forward_hook(lambda *_: count(1))
    calibration = Calibration(Windows(), 1000, LENGTH, 8, ALONE, CUT)
    for number, ((shape, layer_map), (expected, solution)) in enumerate(zip(wanted, alone, strict=True)):
        calibration.begin_again()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            student = build_student(shape)
        assert solve_student(student, source, layer_map, calibration, 0, ALONE).errors == solution.errors
        for (name, weight), other in zip(student.named_parameters(), expected.parameters(), strict=True):
            assert torch.equal(weight, other), (number, name)
        if number == 1:
            assert (calls == [calibration.count] * 2) == (room > 1 << 20), calls


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-2), (torch.bfloat16, 0.1)])
def test_on_a_gpu_it_is_the_student_of_the_cpu(dtype: torch.dtype, bound: float) -> None:
    """From a teacher in float32, and near it from one in 16 bits."""
    source, shape, device = teacher(layers=4), bert_config(2, 12, 4), torch.device("cuda")
    expected, solution = solved(source, shape, [1, 3])
    student, world = build_student(shape).to(device), World(0, 1, device)
    calibration = Calibration(Windows(), 4000, LENGTH, 8, world, CUT)
    found = solve_student(student, teacher(layers=4).to(device, dtype), [1, 3], calibration, 0, world)
    assert found.errors == pytest.approx(solution.errors, rel=bound)
    for ours, states in zip(features(student.cpu()).hidden_states, features(expected).hidden_states, strict=True):
        assert error(ours, states) < bound


@pytest.mark.parametrize(
    "shape",
    [
        {"heads": 2},
        {"heads": 6},
        {"hidden": 36},
        {"intermediate_size": 10},
        {"intermediate_size": 100},
        {"type_vocab_size": 1},
        {"max_position_embeddings": 20},
        {"max_position_embeddings": 90},
    ],
    ids=str,
)
def test_any_shape_is_solved(shape: dict[str, int]) -> None:
    source = teacher(layers=4)
    data: Any = Windows()
    if shape.get("type_vocab_size") == 1:

        class OneSegment(Windows):
            def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
                batch = super().batch(positions)
                return batch | {"token_type_ids": np.zeros_like(batch["token_type_ids"])}

        data = OneSegment()
    student, solution = solved(source, bert_config(**({"layers": 2, "hidden": 12} | shape)), [0, 3], data=data)
    assert all(weight.isfinite().all() for weight in student.state_dict().values())
    assert all(0 <= each < 0.95 for each in solution.errors), solution.errors


def test_few_tokens_dead_neurons_and_tied_states_give_no_nan() -> None:
    source = teacher(layers=2)
    with torch.no_grad():
        source.encoder.layer[1].intermediate.dense.weight[:20] = 0.0
        source.encoder.layer[1].intermediate.dense.bias[:20] = 0.0
        source.encoder.layer[0].attention.self.query.weight.zero_()
        source.encoder.layer[0].attention.self.query.bias.zero_()
    student, solution = solved(source, bert_config(2, 12, 4), [0, 1], tokens=16)
    assert all(weight.isfinite().all() for weight in student.state_dict().values())
    assert np.isfinite(solution.errors).all()


def test_padding_is_not_learnt_from() -> None:
    source, shape = teacher(layers=2), bert_config(2, 12, 4)
    plain, solution = solved(source, shape, [0, 1], data=Windows(padded=True))
    assert solution.tokens == Calibration(Windows(padded=True), 4000, LENGTH, 8, ALONE).tokens()  # as was announced
    longer, _ = solved(source, shape, [0, 1], data=Windows(padded=True, extra=6))
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(longer.state_dict()[name], weight, rtol=1e-3, atol=1e-4, msg=name)


def test_what_is_kept_in_memory_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source, shape = teacher(layers=2), bert_config(2, 12, 4)
    kept, _ = solved(source, shape, [0, 1])
    monkeypatch.setattr(calibration_module, "_CACHED_BYTES", 20_000)
    calibration = Calibration(Windows(), 4000, LENGTH, 8, ALONE, CUT)
    student = build_student(shape)
    solve_student(student, source, [0, 1], calibration, 0, ALONE)
    assert 0 < calibration._bytes <= 20_000
    assert len(calibration._kept) < calibration.count
    for name, weight in kept.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], weight, msg=name)


def test_ranks_share_the_batches() -> None:
    def ids(rank: int, ranks: int) -> list[Tensor]:
        calibration = Calibration(Windows(), 3000, LENGTH, 8, World(rank, ranks, torch.device("cpu")), CUT)
        return [batch.inputs["input_ids"] for batch in calibration]

    whole, parts = ids(0, 1), [ids(rank, 3) for rank in range(3)]
    assert sum(map(len, parts)) == len(whole) > 20
    for number, batch in enumerate(whole):
        assert torch.equal(parts[number % 3][number // 3], batch)


def test_rows_are_cut_to_several_lengths_and_end_as_whole_ones_do() -> None:
    class Ended(Windows):
        def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
            batch = super().batch(positions)
            batch["input_ids"][:, -1] = 3
            return batch

    calibration = Calibration(Ended(), 3000, LENGTH, 8, ALONE, CUT)
    data = Ended()
    for index, batch in enumerate(calibration):
        found, whole = batch.inputs["input_ids"].numpy(), data.batch(index * 8 + np.arange(8))
        length = found.shape[1]
        assert length == LENGTH if index % 4 == 0 else length == 8
        assert (found[:, -1] == 3).all() and (found[:, :-1] == whole["input_ids"][:, : length - 1]).all()
        segments = batch.inputs["token_type_ids"].numpy()
        assert (segments[:, :-1] == whole["token_type_ids"][:, : length - 1]).all()
        assert (segments[:, -1] == segments[:, -2]).all()
    assert any(batch.held_out for batch in calibration)
    lengths = {batch.inputs["input_ids"].shape[1] for batch in calibration if batch.held_out}
    assert len(lengths) > 1  # a ridge is chosen on more than one of them


def test_rows_of_a_task_stay_whole_though_a_batch_has_one_length() -> None:
    class Labelled(Windows):
        def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
            return super().batch(positions) | {"labels": np.zeros(len(positions), dtype=np.int64)}

    calibration = Calibration(Labelled(), 2000, LENGTH, 8, ALONE)
    assert {tuple(batch.inputs["input_ids"].shape) for batch in calibration} == {(8, LENGTH)}
