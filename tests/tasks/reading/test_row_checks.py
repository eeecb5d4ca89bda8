"""What is said of a task's rows before it runs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from megatinybert.tasks.reading.layout import Layout
from megatinybert.tasks.reading.read import open_task
from megatinybert.tasks.reading.row_checks import RowChecks, alike, check_rows, check_unlabelled
from megatinybert.tasks.table import TASKS

ROWS = [(f"text {i}", "good" if i % 3 else "bad") for i in range(30)]


def check(folder: Path, train: list[tuple[str, ...]], dev: list[tuple[str, ...]]) -> RowChecks:
    for name, rows in (("train", train), ("eval", dev)):
        (folder / f"{name}.txt").write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return check_rows(open_task("custom", str(folder)), skip_bad=False)


def other(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(f"another {text}", *rest) for text, *rest in rows]


def test_classes_are_told_with_their_counts(tmp_path: Path) -> None:
    checks = check(tmp_path, ROWS, other(ROWS[:6]))
    assert checks.facts == ["rows of each class in train.txt: good 20, bad 10; dev: good 4, bad 2"]
    assert checks.warnings == checks.on_scores == []


@pytest.mark.parametrize("header", [("words", "label"), ("a text", "class"), ("正文", "标签"), ("review", "stars")])
def test_a_header_that_became_a_class_is_told(tmp_path: Path, header: tuple[str, str]) -> None:
    checks = check(tmp_path, [header, *ROWS], other(ROWS))
    first, rare = checks.warnings
    assert "train.txt: its first line" in first and "looks like a header" in first and repr(header[1]) in first
    assert f"fewer than 5 rows: {header[1]} 1" in rare


def test_a_class_without_rows_is_rare(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "".join(f"text {i}\t1\n" for i in range(9)))
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nanother\t0\n")
    checks = check_rows(open_task("sst-2", str(tmp_path)), skip_bad=False)
    assert checks.facts == ["rows of each class in train.tsv: positive 9, negative 0; dev: negative 1, positive 0"]
    assert [warning.partition(": ")[2] for warning in checks.warnings] == [
        "rare classes, with fewer than 5 rows: negative 0"
    ]


def test_a_first_row_that_is_no_header(tmp_path: Path) -> None:
    """Though its class, which other rows have, is called so."""
    rows = [(text, "label" if label == "good" else label) for text, label in ROWS]
    assert check(tmp_path, rows[1:], other(rows)).warnings == []


def test_classes_that_differ_only_in_how_they_are_written_are_told(tmp_path: Path) -> None:
    more = [("a", "Good"), ("b", "GOOD")]
    checks = check(tmp_path, [*ROWS, *more], other(ROWS))
    spelling, rare = checks.warnings
    assert all(repr(name) in spelling for name in ("good", "Good", "GOOD")) and "differ only in how" in spelling
    assert "rare classes, with fewer than 5 rows: " in rare and "Good 1" in rare and "GOOD 1" in rare
    assert "drop_labels" not in rare  # they are to be renamed
    assert "drop_labels" not in check(tmp_path, [*ROWS[:2], *ROWS[3:4]], other(ROWS)).warnings[-1]  # one is no task


def test_how_to_leave_rare_classes_out_is_told(tmp_path: Path) -> None:
    for name, rows in (("train", [*ROWS, ("a", "odd"), ("b", "-")]), ("eval", other(ROWS))):
        (tmp_path / f"{name}.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    files = open_task("custom", str(tmp_path), layout=Layout(drop_labels=("-",)))
    (rare,) = check_rows(files, skip_bad=False).warnings
    assert rare.endswith("rows: odd 1. --task.drop_labels - odd leaves their rows out")


def test_texts_that_are_quoted_as_in_a_csv_are_told(tmp_path: Path) -> None:
    quoted = '"they say ""fine"" to it"'
    checks = check(tmp_path, [*ROWS, (quoted, "good")], other([*ROWS, ('"Fine"', "good"), ('say ""', "bad")]))
    (warning,) = checks.warnings
    assert warning.startswith(
        f"{tmp_path / 'train.txt'}: 1 text with quotation marks as in a .csv, such as {quoted!r}. "
    )


def test_names_alike() -> None:
    names = ["0", "1", "1.0", "Good", " good", "bad", "\uff12", "2", "-1", "not good"]
    assert alike(names) == [["1", "1.0"], ["Good", " good"], ["\uff12", "2"]]
    assert alike(["a", "b", "not_a"]) == []


def test_development_rows_that_were_trained_on_are_told(tmp_path: Path) -> None:
    copied = check(tmp_path, ROWS, ROWS)
    assert len(copied.on_scores) == 1 and copied.on_scores[0] in copied.warnings
    assert copied.on_scores[0].startswith("30 of the 30 rows of eval.txt (100.0%) are also in train.txt")
    half = check(tmp_path, ROWS, [*ROWS[:5], *other(ROWS[:5])])
    assert half.on_scores[0].startswith("5 of the 10 rows of eval.txt (50.0%)")


def test_a_few_equal_rows_are_a_fact_and_no_warning(tmp_path: Path) -> None:
    many: list[tuple[str, ...]] = [(f"other {i}", "good" if i % 2 else "bad") for i in range(200)]
    checks = check(tmp_path, ROWS, [ROWS[0], *many])
    assert checks.warnings == [] and "1 of the 201 rows of eval.txt (0.5%)" in checks.facts[1]


def test_pairs_are_equal_where_both_texts_are(tmp_path: Path) -> None:
    pairs = [(text, "and", label) for text, label in ROWS]
    swapped = [(text, "or", label) for text, label in ROWS]
    assert check(tmp_path, pairs, swapped).on_scores == []
    assert len(check(tmp_path, pairs, pairs).on_scores) == 1


def test_scores_have_no_classes(tmp_path: Path) -> None:
    scored: list[tuple[str, ...]] = [(f"text {i}", f"{i / 7:.2f}") for i in range(30)]
    checks = check(tmp_path, scored, scored)
    assert checks.facts == [] and checks.warnings == checks.on_scores != []


@pytest.mark.parametrize(
    ("task", "content", "told"),
    [
        ("sst-2", "a film\nanother\n\n", []),
        ("sst-2", "a film\tgood\nanother\n", ["1 of 2 lines has a field after the text, which is taken for a"]),
        ("sst-2", "内容\na film\n", ["its first line, '内容', looks like a header, but every line of a .txt is a row"]),
        (
            "sst-2",
            "comment\tlabel\na\tb\n",
            ["2 of 2 lines have a field", r"its first line, 'comment\tlabel', looks"],
        ),
        ("qnli", "a\tb\nc\td\n", []),
        ("qnli", "a\tb\nc\td\tentailment\n", ["1 of 2 lines has a field after the second text"]),
    ],
)
def test_what_is_not_read_of_a_file_to_answer_is_told(tmp_path: Path, task: str, content: str, told: list[str]) -> None:
    path = tmp_path / "new.txt"
    path.write_text(content, encoding="utf-8")
    warnings = check_unlabelled(TASKS[task], path)
    assert len(warnings) == len(told)
    assert all(warning.startswith(f"{path}: {part}") for warning, part in zip(warnings, told, strict=True)), warnings


def test_files_whose_columns_have_names_are_not_warned_of(tmp_path: Path) -> None:
    content = "sentence\tlabel\na\tpositive\n"
    for name, layout in (("new.tsv", Layout()), ("new.txt", Layout(columns=("sentence", "label")))):
        (tmp_path / name).write_text(content)
        assert check_unlabelled(replace(TASKS["sst-2"], layout=layout), tmp_path / name) == []


def test_a_first_line_called_as_the_columns_of_this_run_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    path.write_text("Message\nhow are you\n")
    assert check_unlabelled(TASKS["sst-2"], path) == []
    (warning,) = check_unlabelled(replace(TASKS["sst-2"], layout=Layout(text_a="message")), path)
    assert "its first line, 'Message', looks like a header" in warning


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_header_that_the_option_took_for_a_row_is_told(tmp_path: Path, suffix: str) -> None:
    """Whatever it is called, where both files begin with it. The options that are told read the files."""
    mark = "," if suffix == "csv" else "\t"
    for header in (("Ticket ID", "Message", "Category"), ("Nr", "Body of it", "Stars")):
        for name, rows in (("train", ROWS), ("eval", other(ROWS))):
            lines = [header, *(("7", *row) for row in rows)]
            (tmp_path / f"{name}.{suffix}").write_text("".join(f"{mark.join(line)}\n" for line in lines))
        files = open_task("custom", str(tmp_path), layout=Layout(columns=("id", "text", "label")))
        (told,) = (text for text in check_rows(files, skip_bad=False).warnings if "looks like a header" in text)
        assert told.startswith(f"{files.train} (likewise {files.dev['dev']}): its first line, with ")
        options = shlex.join(["--task.text_a_column", header[1], "--task.label_column", header[2]])
        assert told.endswith(f"keep it and use --task.columns null {options}")
        assert f"so {header[2]!r} became a class" in told
        files = open_task("custom", str(tmp_path), layout=Layout(text_a=header[1], label=header[2]))
        assert check_rows(files, skip_bad=False).warnings == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("编号,内容\n1,a\n", 0),
        ("id,comment\n1,a\n", 0),
        ("ID,x\n1,a\n", 1),
        ("id,text\n1,a\n", 0),
        ("1,a\n2,b\n", 0),
    ],
)
def test_a_header_that_is_answered_is_told(tmp_path: Path, content: str, told: int) -> None:
    path = tmp_path / "new.csv"
    path.write_text(content, encoding="utf-8")
    columns = Layout(columns=("id", "text", "label"))
    warnings = check_unlabelled(replace(TASKS["sst-2"], layout=columns), path)
    assert len(warnings) == told and all("looks like a header, but --task.columns" in each for each in warnings)
