"""Files of predictions hold texts, the input's other columns and probabilities, and replace no other input's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from megatinybert.tasks.prediction_files import check_table, free_file, record_input, write_predictions
from megatinybert.tasks.reading.formats import Record, read_records
from megatinybert.tasks.reading.skipped import Skipped, reporter
from megatinybert.tasks.table import TASKS

SST, MNLI, STS = TASKS["sst-2"], TASKS["mnli"], TASKS["sts-b"]


def record(text_a: str, text_b: str | None = None, **others: Any) -> Record:
    return Record(1, text_a, text_b, None, others)


def test_every_input_has_a_file_of_its_own(tmp_path: Path) -> None:
    folder, first, second = tmp_path / "predictions", tmp_path / "new.csv", tmp_path / "new.txt"
    folder.mkdir()
    target = free_file(folder, first)
    target.write_text("")
    record_input(target, first)
    assert free_file(folder, second).name == "new.txt.tsv" != target.name
    assert free_file(folder, first) == target  # its own may be replaced
    with pytest.raises(ValueError, match=r"new.csv.tsv has the predictions of .*new.csv: .*--predict.output"):
        free_file(folder, tmp_path / "other" / "new.csv")
    (folder / "new.txt.tsv").write_text("")  # of which nobody says whose they are
    with pytest.raises(ValueError, match=r"has the predictions of another file: .*--predict.output"):
        free_file(folder, second)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("new.csv", "Id,sentence,label,prediction,\n7,good,1,x,0\n8,\n9,bad,0,y,1\n"),
        ("new.tsv", "Id\tsentence\tlabel\tprediction\t\n7\tgood\t1\tx\t0\n8\n9\tbad\t0\ty\t1\n"),
        (
            "new.jsonl",
            '{"Id": 7, "sentence": "good", "label": 1, "prediction": "x", "column_5": "0"}\n8\n'
            '{"Id": 9, "sentence": "bad", "label": 0, "prediction": "y", "column_5": "1"}\n',
        ),
    ],
)
def test_columns_of_the_input_are_kept_and_rows_that_are_skipped_seen(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    rows = list(read_records(SST, path, False, reporter(path, Skipped())))
    columns, logits = check_table(SST, rows, path), np.zeros((2, 2), dtype=np.float32)
    write_predictions(SST, rows, logits, tmp_path / "out.tsv", columns, with_lines=True)
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    names = ["line", "sentence", "Id", "label", "input_prediction", "column_5", "prediction"]
    assert lines[0][:7] == names
    skipped_after = 1 if name == "new.jsonl" else 2
    assert lines[1][:7] == [str(skipped_after), "good", "7", "1", "x", "0", "negative"]
    assert lines[2][:7] == [str(skipped_after + 2), "bad", "9", "0", "y", "1", "negative"]
    write_predictions(SST, rows, logits, tmp_path / "out.jsonl", None, with_lines=True)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [list(each) for each in found] == [[*names, "probabilities"]] * 2


@pytest.mark.parametrize(
    ("name", "content", "header"),
    [
        ("new.csv", "Review,ID\ngood,1\n", ["Review", "ID", "prediction"]),
        ("new.tsv", "ID\tcontent\n1\tgood\n", ["content", "ID", "prediction"]),
        ("new.jsonl", '{"review": "good"}\n{"review": "bad"}\n', ["review", "prediction"]),
        ("new.jsonl", '{"review": "good"}\n{"content": "bad"}\n', ["text_a", "prediction"]),  # one column for both
        ("new.txt", "good\nbad\n", ["text_a", "prediction"]),
    ],
)
def test_texts_are_called_as_in_the_input(tmp_path: Path, name: str, content: str, header: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content)
    rows = list(read_records(SST, path, False, reporter(path, Skipped())))
    logits = np.zeros((len(rows), 2), dtype=np.float32)
    write_predictions(SST, rows, logits, tmp_path / "out.tsv", check_table(SST, rows, path), with_lines=False)
    assert (tmp_path / "out.tsv").read_text().splitlines()[0].split("\t")[: len(header)] == header
    write_predictions(SST, rows, logits, tmp_path / "out.jsonl", None, with_lines=False)
    objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [next(iter(each)) for each in objects] == [(row.names or ("text_a",))[0] for row in rows]


def test_a_text_that_is_called_as_a_column_of_ours(tmp_path: Path) -> None:
    row, logits = Record(1, "good", None, None, {"text_a": "x"}, ("prediction",)), np.zeros((1, 2), dtype=np.float32)
    columns = check_table(SST, [row], Path("new.csv"))
    write_predictions(SST, [row], logits, tmp_path / "out.tsv", columns, with_lines=False)
    header = (tmp_path / "out.tsv").read_text().splitlines()[0]
    assert header.split("\t")[:3] == ["input_prediction", "text_a", "prediction"]
    both = [row, row._replace(names=("text",))]  # so neither has its name, and the other column not that of both
    write_predictions(SST, both, np.zeros((2, 2)), tmp_path / "out.tsv", check_table(SST, both, Path("x")), False)
    assert (tmp_path / "out.tsv").read_text().startswith("text_a\tinput_text_a\tprediction\t")


def test_columns_without_a_header_are_called_as_the_option_says(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("gj04\t0\t*\tThey drank the pub.\n")
    (row,) = read_records(TASKS["cola"], path, False, reporter(path, Skipped()))
    assert row.others == {"source": "gj04", "label": "0", "mark": "*"}


def test_a_table_of_predictions(tmp_path: Path) -> None:
    rows = [record("good", index="7", Note="yes"), record('a "bad" one', index="8")]
    logits = np.log(np.array([[0.2, 0.8], [0.7, 0.3]], dtype=np.float32))
    columns = check_table(SST, rows, Path("new.jsonl"))
    write_predictions(SST, iter(rows), logits, tmp_path / "new" / "out.tsv", columns, with_lines=False)
    assert (tmp_path / "new" / "out.tsv").read_text() == (
        "text_a\tindex\tNote\tprediction\tprobability_negative\tprobability_positive\n"
        "good\t7\tyes\tpositive\t0.200000\t0.800000\n"
        'a "bad" one\t8\t\tnegative\t0.700000\t0.300000\n'
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.tsv"]


def test_objects_of_predictions(tmp_path: Path) -> None:
    rows = [record("一\t二", "三\nvier", id=[1], half="\ud83d")]
    logits = np.array([[1.0, 3.0, -2.0]], dtype=np.float32)
    write_predictions(MNLI, rows, logits, tmp_path / "out.jsonl", None, with_lines=False)
    (line,) = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert "一" in line
    weights = np.exp(logits[0].astype(float))
    assert MNLI.labels is not None
    expected = dict(zip(MNLI.labels, weights / weights.sum(), strict=True))
    found = json.loads(line)
    assert found.pop("probabilities") == pytest.approx(expected, abs=1e-6)
    texts = {"text_a": "一\t二", "text_b": "三\nvier"}
    assert found == {**texts, "id": [1], "half": "\ud83d", "prediction": MNLI.labels[1]}


def test_scores_have_no_probabilities(tmp_path: Path) -> None:
    rows, logits = [record("a", "b")], np.array([[3.25]], dtype=np.float32)
    write_predictions(
        STS, rows, logits, tmp_path / "out.tsv", check_table(STS, rows, Path("new.txt")), with_lines=False
    )
    write_predictions(STS, rows, logits, tmp_path / "out.jsonl", None, with_lines=False)
    assert (tmp_path / "out.tsv").read_text() == "text_a\ttext_b\tprediction\na\tb\t3.25\n"
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"text_a": "a", "text_b": "b", "prediction": 3.25}


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\rb"])
def test_what_a_table_cannot_hold_is_refused(text: str) -> None:
    said = "new.jsonl: row 2 holds a tab or a line end.* name a .jsonl with --predict.output"
    fine = record("fine", "fine", id="1")
    check_table(MNLI, [fine, fine], Path("new.jsonl"))
    for row in (
        record(text),
        record("fine", text),
        record("fine", id=text),
        record("fine", **{text: "1"}),
        fine._replace(names=(text,)),
    ):
        with pytest.raises(ValueError, match=said):
            check_table(MNLI, [fine, row], Path("new.jsonl"))


def test_rows_and_logits_have_to_be_as_many(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        two = np.zeros((2, 2), dtype=np.float32)
        write_predictions(SST, [record("one")], two, tmp_path / "out.jsonl", None, with_lines=False)
    assert list(tmp_path.iterdir()) == []
