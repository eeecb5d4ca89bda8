"""results.json keeps the other model's results, says null for NaN, and prints as a table."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from megatinybert.models.load import Size
from megatinybert.tasks.latency import Latency
from megatinybert.tasks.results import ModelResult, merge_results, results_table

TEACHER = ModelResult(
    {"dev": {"accuracy": 0.92, "score": 0.92}}, Size(22_000_000, 88_000_000), Latency(12.0, 15.5, 80.0)
)
STUDENT = ModelResult(
    {"dev": {"accuracy": 0.874, "score": 0.874}}, Size(11_000_000, 44_000_000), Latency(3.0, 4.25, 320.0)
)

ROWS = {"dev": 1_000}


def test_results_of_one_model_do_not_remove_the_others(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    first = merge_results(path, "sst-2", {"student": STUDENT})
    assert list(first) == ["task", "student"]
    merged = merge_results(path, "sst-2", {"teacher": TEACHER})
    assert merged == json.loads(path.read_text()) and list(merged) == ["task", "teacher", "student", "retention"]
    assert (
        merged["student"]
        == first["student"]
        == {
            "dev": {"accuracy": 0.874, "score": 0.874},
            "parameters": 11_000_000,
            "bytes": 44_000_000,
            "latency_ms": 3.0,
            "latency_p90_ms": 4.25,
            "sequences_per_second": 320.0,
        }
    )
    assert merged["retention"] == pytest.approx(0.95)
    better = ModelResult({"dev": {"accuracy": 0.46, "score": 0.46}}, Size(1, 4))
    assert merge_results(path, "sst-2", {"student": better})["retention"] == pytest.approx(0.5)
    assert "latency_ms" not in json.loads(path.read_text())["student"]
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_times_of_a_busy_machine_are_told_to_be_such(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    waited = replace(TEACHER, latency=Latency(12.0, 15.5, 80.0, waited=0.4))
    merged = merge_results(path, "sst-2", {"teacher": waited, "student": STUDENT})
    assert merged["teacher"]["latency_waited"] == 0.4 and "latency_waited" not in merged["student"]
    sentence = "The cores were busy, and these runs waited for one 40 % of the time: "
    assert sentence in results_table(merged)
    assert sentence not in results_table(merge_results(path, "sst-2", {"teacher": TEACHER}))


def test_results_of_another_task_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    merge_results(path, "rte", {"teacher": TEACHER})
    before = path.read_text()
    with pytest.raises(ValueError, match="has results of rte, not of cola: .*run.output_dir"):
        merge_results(path, "cola", {"student": STUDENT})
    assert path.read_text() == before


def test_the_first_split_decides_what_is_kept(tmp_path: Path) -> None:
    splits = {"dev_matched": {"accuracy": 0.8, "score": 0.8}, "dev_mismatched": {"accuracy": 0.9, "score": 0.9}}
    teacher = ModelResult(splits, Size(10, 40))
    student = ModelResult(
        {"dev_matched": {"accuracy": 0.6, "score": 0.6}, "dev_mismatched": splits["dev_mismatched"]}, Size(5, 20)
    )
    merged = merge_results(tmp_path / "r.json", "mnli", {"teacher": teacher, "student": student})
    assert merged["retention"] == pytest.approx(0.75)
    table = results_table(merged)
    assert "dev_matched: accuracy" in table and "dev_mismatched: accuracy" in table and "latency" not in table


def test_what_is_undefined_is_null_and_said(tmp_path: Path) -> None:
    constant = ModelResult({"dev": {"pearson": math.nan, "spearman": math.nan, "score": math.nan}}, Size(5, 20))
    good = ModelResult({"dev": {"pearson": 0.8, "spearman": 0.82, "score": 0.81}}, Size(10, 40))
    merged = merge_results(tmp_path / "r.json", "sts-b", {"teacher": good, "student": constant})
    assert "NaN" not in (tmp_path / "r.json").read_text()
    assert merged["student"]["dev"]["pearson"] is None and merged["retention"] is None
    lines = results_table(merged).splitlines()
    assert lines[1].split() == ["dev:", "pearson", "0.8000", "undefined"]
    assert lines[-1] == "The student keeps an undefined part of the teacher's score."


@pytest.mark.parametrize("score", [0.0, -0.1])
def test_nothing_is_kept_of_a_score_that_is_not_positive(tmp_path: Path, score: float) -> None:
    teacher = ModelResult({"dev": {"matthews": score, "score": score}}, Size(10, 40))
    student = ModelResult({"dev": {"matthews": 0.2, "score": 0.2}}, Size(5, 20))
    merged = merge_results(tmp_path / "r.json", "cola", {"teacher": teacher, "student": student})
    assert merged["retention"] is None and "kept" not in results_table(merged)


def test_the_table_of_both_models(tmp_path: Path) -> None:
    merged = merge_results(tmp_path / "r.json", "sst-2", {"teacher": TEACHER, "student": STUDENT})
    assert [" ".join(line.split()) for line in results_table(merged).splitlines()] == [
        "sst-2 teacher student",
        "dev: accuracy 0.9200 0.8740 95.0% kept",
        "parameters 22,000,000 11,000,000 2.0 x smaller",
        "weights in float32 88.0 MB 44.0 MB",
        "latency, median 12.0 ms 3.0 ms 4.0 x faster",
        "latency, 90th percentile 15.5 ms 4.2 ms",
        "sequences a second 80.0 320.0",
        "",
        "The student keeps 95.0% of the teacher's score.",
    ]


def test_a_student_that_is_larger_and_slower_than_its_teacher_is_called_so(tmp_path: Path) -> None:
    merged = merge_results(tmp_path / "r.json", "sst-2", {"teacher": STUDENT, "student": TEACHER})
    table = results_table(merged)
    assert "2.0 x larger" in table and "4.0 x slower" in table and "smaller" not in table and "faster" not in table


def test_the_table_of_one_model(tmp_path: Path) -> None:
    table = results_table(merge_results(tmp_path / "r.json", "sst-2", {"teacher": TEACHER}))
    assert "student" not in table and "kept" not in table and "12.0 ms" in table


def test_the_mean_of_several_metrics_is_shown(tmp_path: Path) -> None:
    result = ModelResult({"dev": {"accuracy": 0.8, "f1": 0.9, "score": 0.85}}, Size(10, 40))
    assert "dev: score" in results_table(merge_results(tmp_path / "r.json", "mrpc", {"teacher": result}))


def test_a_student_no_better_than_one_answer_is_not_praised(tmp_path: Path) -> None:
    idle = ModelResult({"dev": {"accuracy": 0.8, "score": 0.8}}, Size(5, 20), only_answer="good")
    models = {"teacher": ModelResult({"dev": {"accuracy": 0.9, "score": 0.9}}, Size(10, 40)), "student": idle}
    constant = {"dev": {"accuracy": 0.8, "score": 0.8}}
    merged = merge_results(tmp_path / "r.json", "sst-2", models, constant, {"dev": 100}, ["Rows are the same."])
    assert merged["constant"] == constant and merged["retention_over_constant"] == 0
    assert merged["student"]["only_answer"] == "good"
    assert [said[:11] for said in merged["remarks"]] == ["Rows are th", "The student", "The student"]
    table = results_table(merged)
    assert "kept" not in table and "keeps" not in table
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["sst-2", "teacher", "student", "constant"]
    assert lines[1] == ["dev:", "accuracy", "0.9000", "0.8000", "0.8000", "not", "above", "constant"]
    assert all(said in table for said in merged["remarks"])


def test_retention_stands_beside_that_over_the_constant_answer(tmp_path: Path) -> None:
    constant = {"dev": {"accuracy": 0.5, "score": 0.5}}
    merged = merge_results(tmp_path / "r.json", "sst-2", {"teacher": TEACHER, "student": STUDENT}, constant, ROWS)
    assert merged["retention"] == pytest.approx(0.95)
    assert merged["retention_over_constant"] == pytest.approx(0.374 / 0.42)
    table = " ".join(results_table(merged).split())  # a narrow terminal breaks the note
    assert "95.0% kept, 89.0% over constant" in table and "remarks" not in merged
    assert "The student keeps 95.0% of the teacher's score." in table
    assert "It keeps 89.0% of what the teacher gains over the best constant answer." in table


def test_there_is_no_retention_of_a_teacher_that_has_learnt_nothing(tmp_path: Path) -> None:
    constant = {"dev": {"accuracy": 0.93, "score": 0.93}}
    merged = merge_results(tmp_path / "r.json", "sst-2", {"teacher": TEACHER, "student": STUDENT}, constant, ROWS)
    assert merged["retention"] is None and merged["retention_over_constant"] is None
    assert "no retention is given" in results_table(merged) and "keeps" not in results_table(merged)


def test_a_teacher_within_chance_is_called_so_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    teacher, student = ({"pearson": p, "spearman": s, "score": (p + s) / 2} for p, s in ((0.034, 0.03), (0.048, 0.02)))
    models = {
        "teacher": ModelResult({"dev": teacher}, Size(10, 40)),
        "student": ModelResult({"dev": student}, Size(5, 20)),
    }
    constant = {"dev": dict.fromkeys(("pearson", "spearman", "score"), 0.0)}
    merged = merge_results(tmp_path / "r.json", "sts-b", models, constant, {"dev": 1_500})
    assert (
        merged["retention"] is None and merged["retention_over_constant"] is None and merged["rows"] == {"dev": 1_500}
    )
    table = " ".join(results_table(merged).split())
    assert table.count("0.0000 teacher no better than chance") == 3 and "kept" not in table and "keeps" not in table
    assert "two standard errors of 1,500 rows are 0.0516" in merged["remarks"][0]
