"""Files of GLUE's layouts and of one's own: every row read as it is, and every mistake named with file and line."""

from __future__ import annotations

import csv
import json
import shlex
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.read import Row, Skipped, label_counts, open_task, read_rows
from megatinybert.tasks.table import TASKS

# A header, a row with label, a row of a test file with its own header; and what they mean.
GLUE = {
    "sst-2": (
        "sentence\tlabel",
        "a fine film \t1",
        "index\tsentence",
        "0\tso so",
        Row("a fine film ", None, 1),
        "so so",
    ),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "0\t7\t8\tHe said.\tShe said.",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "0\t7\t8\tThis.\tThat.",
        Row("He said.", "She said.", 0),
        "This.",
    ),
    "sts-b": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA cat.\tA dog.\t2.400",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "0\tmain\tMSR\t2012\t1\tnone\tnone\tA car.\tA bus.",
        Row("A cat.", "A dog.", 2.4),
        "A car.",
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        '9\t1\t2\tWhat is "it"?\tIt is "what?\t1',
        "id\tquestion1\tquestion2",
        "0\tWho?\tWhom?",
        Row('What is "it"?', 'It is "what?', 1),
        "Who?",
    ),
    "mnli": (
        "index\tpromptID\tpairID\tgenre\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t1n\tfiction\tHe ran.\tHe moved.\tneutral\tentailment",
        "index\tpromptID\tpairID\tgenre\tsentence1\tsentence2",
        "0\t1\t1n\tfiction\tHe sat.\tHe stood.",
        Row("He ran.", "He moved.", 1),
        "He sat.",
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel",
        "0\tWhen?\tThen.\tnot_entailment",
        "index\tquestion\tsentence",
        "0\tWhere?\tThere.",
        Row("When?", "Then.", 1),
        "Where?",
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel",
        "0\tIt rains.\tIt is wet.\tentailment",
        "index\tsentence1\tsentence2",
        "0\tIt snows.\tIt is dry.",
        Row("It rains.", "It is wet.", 0),
        "It snows.",
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel",
        "0\tShe saw it.\tIt was seen.\t1",
        "index\tsentence1\tsentence2",
        "0\tHe saw it.\tHe was seen.",
        Row("She saw it.", "It was seen.", 1),
        "He saw it.",
    ),
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def writer(name: str, *lines: str, end: str = "\n") -> Path:
        path = tmp_path / name
        path.write_bytes(end.join([*lines, ""]).encode())
        return path

    return writer


def rows(task: str, path: Path, **options: bool) -> list[Row]:
    return list(read_rows(TASKS[task], path, **options))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", GLUE)
def test_official_layouts(name: str, tmp_path: Path, write: Callable[..., Path]) -> None:
    header, row, test_header, test_row, expected, expected_text = GLUE[name]
    task = TASKS[name]
    for file in (task.train, *task.dev.values()):
        write(file, header, row)
    for file in list(task.test.values())[:2]:
        write(file, test_header, test_row)
    files = open_task(name.upper(), str(tmp_path))
    assert replace(files.task, layout=task.layout) == task
    assert [list(read_rows(task, path)) for path in (files.train, *files.dev.values())] == [[expected]] * (
        1 + len(task.dev)
    )
    assert list(files.dev) == list(task.dev) and list(files.test) == list(task.test)[:2]
    for path in files.test.values():
        row_of_test = rows(name, path, with_labels=False)[0]
        assert row_of_test.text_a == expected_text and row_of_test.label is None


def test_cola_has_no_header_but_in_the_test_file(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train.tsv", "dev.tsv"):
        write(name, "gj04\t1\t\tThey drank the pub.", "gj04\t0\t*\tThey drank the pub dry of.")
    write("test.tsv", "index\tsentence", "0\tBill whistled past the house.")
    files = open_task("CoLA", str(tmp_path))
    assert [row.label for row in read_rows(files.task, files.train)] == [1, 0]
    assert rows("cola", files.dev["dev"], with_labels=False)[0] == Row("They drank the pub.", None, None)
    assert rows("cola", files.test["test"], with_labels=False) == [Row("Bill whistled past the house.", None, None)]


def test_mrpc_by_its_original_names_and_never_of_two_sets(tmp_path: Path, write: Callable[..., Path]) -> None:
    header, row = GLUE["mrpc"][:2]
    write("msr_paraphrase_train.txt", header, row, end="\r\n")
    write("msr_paraphrase_test.txt", header, row, row, end="\r\n")
    files = open_task("mrpc", str(tmp_path))
    assert [len(rows("mrpc", path)) for path in (files.train, files.dev["dev"])] == [1, 2]
    write("dev.tsv", header, row)
    write("test.tsv", *GLUE["mrpc"][2:4])
    files = open_task("mrpc", str(tmp_path))
    assert files.dev["dev"].name == "msr_paraphrase_test.txt", "dev.tsv is a part of msr_paraphrase_train.txt"
    assert not files.test, "test.tsv is msr_paraphrase_test.txt"
    write("train.tsv", header, row)
    files = open_task("mrpc", str(tmp_path))
    assert (files.train.name, files.dev["dev"].name, list(files.test)) == ("train.tsv", "dev.tsv", ["test"])


def test_a_missing_file_is_named_with_what_is_there(tmp_path: Path, write: Callable[..., Path]) -> None:
    assert "no such folder" in refusal(lambda: open_task("rte", str(tmp_path / "none")))
    assert "the folder is empty" in refusal(lambda: open_task("rte", str(tmp_path)))
    write("train.tsv", *GLUE["mnli"][:2])
    write("dev_matched.tsv", *GLUE["mnli"][:2])
    message = refusal(lambda: open_task("mnli", str(tmp_path)))
    assert "no dev_mismatched.tsv, which mnli needs; the folder has dev_matched.tsv, train.tsv" in message
    (tmp_path / "CoLA").mkdir()
    assert f"did you mean --task.data_dir {tmp_path / 'CoLA'}?" in refusal(lambda: open_task("cola", str(tmp_path)))
    assert "are for custom tasks only" in refusal(lambda: open_task("mnli", str(tmp_path), labels=["a", "b"]))


@pytest.mark.parametrize("of", list(GLUE))
@pytest.mark.parametrize("name", list(GLUE))
def test_the_data_of_another_task_is_told(name: str, of: str, tmp_path: Path) -> None:
    folder = tmp_path / of.upper()
    folder.mkdir()
    header, row, *_ = GLUE[of]
    for file in (TASKS[of].train, *TASKS[of].dev.values()):
        (folder / file).write_text("".join(f"{line}\n" for line in (header, row) if line))
    try:
        files = open_task(name, str(folder))
        list(read_rows(files.task, files.train))
    except ValueError as error:
        assert name != of
        told = str(error)
        # Where the columns fit, it is the labels that do not.
        assert f"did you mean --task.name {of}?" in told or "the label '" in told
        assert ("--task.name" in told) == (told.endswith(f"did you mean --task.name {of}?"))


def test_data_of_a_task_is_not_taken_for_that_of_another(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.tsv", *GLUE["rte"][:2])
    assert refusal(lambda: open_task("rte", str(tmp_path))).endswith("; the folder has train.tsv")
    write("dev.tsv", *GLUE["rte"][:2])
    told = "these columns are those of rte and wnli: did you mean --task.name rte?"
    refused = refusal(lambda: list(read_rows(TASKS["sst-2"], tmp_path / "train.tsv")))
    assert refused.endswith(f"has a second text, but the rows of sst-2 are single texts: {told}")
    assert "did you mean" not in refusal(lambda: list(read_rows(TASKS["qqp"], write("a.tsv", "a\tb", "a\tb"))))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_character_but_lf_ends_a_line_and_nothing_is_quoted(write: Callable[..., Path], end: str) -> None:
    text = 'odd\u2028and\x85and\x0b"one'
    path = write("train.tsv", "sentence\tlabel", f"{text}\t1", '"two"\t0', end=end)
    assert rows("sst-2", path) == [Row(text, None, 1), Row('"two"', None, 0)]


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_cr_alone_as_the_end_of_lines_is_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"train.{suffix}"
    path.write_bytes(b"sentence\tlabel\rgood\t1\rbad\t0\r".replace(b"\t", b"\t" if suffix == "tsv" else b","))
    assert "its lines end with CR alone: make a copy in lf and name that: tr '\\r' '\\n'" in refusal(
        lambda: list(rows("sst-2", path))
    )


def test_augmented_files_are_read_for_every_task(tmp_path: Path) -> None:
    """Each label by the name of its class, by what the task's own files write, or as a score."""
    path = tmp_path / "augmented.jsonl"
    for task in TASKS.values():
        if task.name == "custom":
            continue
        labels = task.labels or (0.0, 2.5, 5)
        texts = {"text_a": 'x "y"\t\n…', "text_b": "z"} if task.pair else {"text_a": 'x "y"\t\n…'}
        path.write_text("".join(json.dumps({**texts, "label": label}) + "\n" for label in labels))
        expected = list(range(len(labels))) if task.labels else [0.0, 2.5, 5.0]
        assert list(read_rows(task, path)) == [Row(texts["text_a"], texts.get("text_b"), label) for label in expected]
        path.write_text("".join(json.dumps({**texts, "label": value}) + "\n" for value in task.values or labels))
        assert [row.label for row in read_rows(task, path)] == expected


BAD_ROWS = {
    "a label of another task": ("fine\t1\nwell\tgood\n", "'good' is not one of negative, positive, 0, 1"),
    "too many fields": ("fine\t1\na\tb\t1\n", "3 fields, but the file has 2 columns"),
    "a tab between quotation marks": (
        'fine\t1\n"a film,\tdull"\t0\n',
        "2 columns (quotation marks are ordinary characters in such a file; if they are meant to enclose its fields",
    ),
    "too few fields": ("fine\t1\nalone\n", "1 field, but the file has 2 columns"),
    "a space for a tab": (
        "fine\t1\na dull film   0\n",
        "2 columns (is there a space where a tab belongs?)",
    ),
    "no label": ("fine\t1\ntext\t \n", "no label"),
    "no text": ("fine\t1\n  \t1\n", "an empty text (column 'sentence')"),
    "an empty line": ("fine\t1\n\nfine\t0\n", "an empty line"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_an_error_with_file_and_line_or_counted(kind: str, tmp_path: Path) -> None:
    body, reason = BAD_ROWS[kind]
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\n" + body)
    message = refusal(lambda: rows("sst-2", path))
    assert message.startswith(f"{path}:3: ") and reason in message
    skipped = Skipped()
    kept = list(read_rows(TASKS["sst-2"], path, skipped))
    assert kept[0] == Row("fine", None, 1) and len(kept) == body.count("\n") - 1
    assert skipped.count == 1 and skipped.messages[0] in message


def test_of_many_bad_rows_the_first_messages_are_kept(write: Callable[..., Path]) -> None:
    path = write("train.tsv", "sentence\tlabel", "fine\t1", *["bad"] * 100)
    skipped = Skipped()
    assert len(list(read_rows(TASKS["sst-2"], path, skipped))) == 1
    assert skipped.count == 100 and [m.split(":")[1] for m in skipped.messages] == ["3", "4", "5", "6", "7"]
    path = write("train.tsv", "sentence\tlabel", "bad")
    assert "none of its rows can be parsed. The first: " in refusal(
        lambda: list(read_rows(TASKS["sst-2"], path, Skipped()))
    )


def test_scores_are_finite_numbers(write: Callable[..., Path]) -> None:
    for bad in ("nan", "inf", "high", "1_0"):
        path = write("dev.tsv", "sentence1\tsentence2\tscore", f"a\tb\t{bad}")
        assert f"the label {bad!r} is not a finite number" in refusal(lambda path=path: rows("sts-b", path))


def test_empty_lines_at_the_end_are_no_rows(write: Callable[..., Path]) -> None:
    assert len(rows("sst-2", write("train.tsv", "sentence\tlabel", "fine\t1", "", " ", ""))) == 1
    assert len(rows("sst-2", write("train.csv", "text,label", "fine,1", "", ""))) == 1
    assert len(rows("sst-2", write("train.jsonl", '{"text": "fine", "label": 1}', ""))) == 1


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "it has no rows"),
        (["sentence\tlabel"], "it has no rows"),
        (["sentence\tlabel\tlabel", "a\t1\t1"], "has the column label twice"),
        (["phrase\tlabel", "a\t1"], "has the columns phrase, label; sst-2 needs sentence/text_a/text/"),
        (["sentence", "a"], "has the columns sentence, but there is none for the label (label/"),
        (["sentence\tsentence2\tlabel", "a\tb\t1"], "has a second text"),
    ],
)
def test_files_that_are_wrong_as_a_whole(write: Callable[..., Path], lines: list[str], reason: str) -> None:
    path = write("train.tsv", *lines)
    for skipped in (None, Skipped()):
        message = refusal(lambda skipped=skipped: list(read_rows(TASKS["sst-2"], path, skipped)))
        assert str(path) in message and reason in message


def test_the_columns_of_two_conventions_are_not_mixed(write: Callable[..., Path]) -> None:
    """QNLI calls its second text "sentence", as others call their only one."""
    path = write("train.tsv", "sentence\tsentence2\tlabel", "a\tb\tentailment")
    assert rows("qnli", path) == [Row("a", "b", 0)]
    assert "qnli needs question with sentence or text_a/" in refusal(
        lambda: rows("qnli", write("train.tsv", "sentence\tlabel", "a\tentailment"))
    )


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        ("不好\t0\n".encode("gb18030"), 2, "not valid UTF-8 (byte 0xb2)"),
        (b"fine\t1\ncaf\xe9\t0\n", 3, "not valid UTF-8 (byte 0xe9)"),
    ],
)
def test_other_encodings_are_named_with_the_line(tmp_path: Path, data: bytes, line: int, reason: str) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\n" + data)
    message = refusal(lambda: list(read_rows(TASKS["sst-2"], path, Skipped())))
    assert message.startswith(f"{path}:{line}: ") and reason in message and "iconv -f" in message


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_characters_without_a_mark_are_recognised(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes("fine\t1\n".encode(encoding))
    assert "UTF-" in refusal(lambda: rows("sst-2", path)) and "iconv -f utf-" in refusal(lambda: rows("sst-2", path))


def test_a_stray_byte_0_is_no_sign_of_utf_16(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\nfine\t1\nba\0d\t0\n")
    assert refusal(lambda: rows("sst-2", path)) == f"{path}:3: a byte 0, which is no character of a text: remove it"


def custom(folder: Path, *options: str, **keywords: object) -> TaskFiles:
    return open_task("custom", str(folder), *options, **keywords)  # type: ignore[arg-type]


def test_plain_text_of_single_texts_and_of_pairs(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "\ufeff好看\tgut", "难看\tschlecht")
    write("eval.txt", "不错\tgut")
    files = custom(tmp_path)
    assert files.task.labels == ("gut", "schlecht") and files.task.metrics == ("accuracy",) and not files.task.pair
    assert list(read_rows(files.task, files.train)) == [Row("好看", None, 0), Row("难看", None, 1)]
    assert files.dev == {"dev": tmp_path / "eval.txt"} and files.test == {}
    write("train.txt", "a\tb\tyes", "c\td\tno")
    write("eval.txt", "a\tb\tno", "c\tyes")
    write("test.txt", "a\tb")
    files = custom(tmp_path)
    assert files.task.pair and files.task.labels == ("no", "yes")
    message = refusal(lambda: list(read_rows(files.task, files.dev["dev"])))
    assert message.startswith(f"{tmp_path / 'eval.txt'}:2: 2 fields separated by tabs, not text_a and text_b and label")
    assert list(read_rows(files.task, files.test["test"], with_labels=False)) == [Row("a", "b", None)]


def test_rows_to_be_predicted_may_have_a_label_and_one_empty_text_of_two(write: Callable[..., Path]) -> None:
    path = write("some.txt", "a", "b\t1")
    assert [row[:] for row in rows("sst-2", path, with_labels=False)] == [("a", None, None), ("b", None, None)]
    path = write("some.txt", "a\tb", "c\td\tentailment", "e\t")
    assert [row.text_b for row in rows("rte", path, with_labels=False)] == ["b", "d", ""]
    path = write("some.tsv", "text_a\ttext_b\tid", " \t\t7")
    assert f"{path}:2: an empty text (column 'text_a')" in refusal(lambda: rows("rte", path, with_labels=False))


def test_csv_has_quotes_and_lines_within_records(tmp_path: Path, write: Callable[..., Path]) -> None:
    given = [('He said "no", twice', "bad"), ("two\nlines\r\nand three", "good"), ("plain", "good")]
    for name in ("train.csv", "eval.csv"):
        with (tmp_path / name).open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file).writerows([("text", "label"), *given])
    files = custom(tmp_path)
    assert files.task.labels == ("bad", "good")
    assert [row.text_a for row in read_rows(files.task, files.train)] == [text for text, _ in given]
    path = write("more.csv", "id,text,label", '1,"two', 'lines",good', "2,no label", '3,"x",good')
    message = refusal(lambda: list(read_rows(files.task, path)))
    assert message.startswith(f"{path}:4: 2 fields, but the file has 3 columns")
    path = write("more.csv", "text,label", f"{'long ' * 40_000},good")
    assert len(next(read_rows(files.task, path)).text_a) > 150_000  # more than the library's limit
    path = write("more.csv", "text,label", "fine,good", '"never closed,good', "more,good")
    assert f"{path}:3: the record that begins here is not CSV" in refusal(
        lambda: list(read_rows(files.task, path, Skipped()))
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('"text"', "not a JSON object"),
        ('{"text": 5, "label": 1}', "not a string of Unicode characters"),
        ('{"text": "half \\ud800", "label": 1}', "not a string of Unicode characters"),
        ('{"text": "a", "label": [1]}', "neither a string nor a number"),
        ('{"text": "a", "label": null}', "no label"),
        ('{"text": "a"}', "its keys are text, but there is none for the label (label/score/"),
        ('{"text": "a", "x": 1}', "its keys are text, x, of which none is a label (label/score/"),
        ('{"text": "a", "text_b": "b", "label": 1}', "a second text"),
    ],
)
def test_objects_that_are_no_rows(write: Callable[..., Path], text: str, reason: str) -> None:
    path = write("train.jsonl", '{"text": "fine", "label": 1}', text, '{"label": "negative", "sentence": "x"}')
    message = refusal(lambda: rows("sst-2", path))
    assert message.startswith(f"{path}:2: ") and reason in message
    skipped = Skipped()
    assert [row.label for row in read_rows(TASKS["sst-2"], path, skipped)] == [1, 0] and skipped.count == 1


def test_labels_of_a_custom_task(tmp_path: Path, write: Callable[..., Path]) -> None:
    """(labels in the file, classes in their order), by value where all are numbers."""
    for given, expected in (
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "10", "a"], ("10", "a", "b")),
        (["2.0", "1.0"], ("1.0", "2.0")),
    ):
        for name in ("train.txt", "dev.txt"):
            write(name, *(f"text\t{label}" for label in given))
        assert custom(tmp_path).task.labels == expected
    objects = [json.dumps({"text": "x", "label": label}) for label in (True, False)]
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).unlink()
        write(name.replace("txt", "jsonl"), *objects)
    assert custom(tmp_path).task.labels == ("false", "true")


def test_given_labels_and_kinds(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "a\tx", "b\ty", "c\tz")
    write("dev.txt", "a\tx")
    assert custom(tmp_path, labels=["y", "x", "w"]).task.labels == ("y", "x", "w")
    files = custom(tmp_path, labels=["y", "x"])
    skipped = Skipped()
    assert [row.label for row in read_rows(files.task, files.train, skipped)] == [1, 0] and skipped.count == 1
    assert "needs two or more different names" in refusal(lambda: custom(tmp_path, labels=["x", "x"]))
    assert "names; spaces stand between them, not commas" in refusal(lambda: custom(tmp_path, labels=["x\uff0cy"]))
    assert "no row of " in refusal(lambda: custom(tmp_path, labels=["X", "Y"]))
    assert "--task.kind is regression" in refusal(lambda: custom(tmp_path, labels=["x", "y"], kind="regression"))


def test_regression_is_recognised(tmp_path: Path, write: Callable[..., Path]) -> None:
    def kind(header: str, *labels: str, **keywords: object) -> tuple[str, ...] | None:
        for name in ("train.tsv", "dev.tsv"):
            write(name, header, *(f"text\t{label}" for label in labels))
        task = custom(tmp_path, **keywords).task
        assert task.metrics == (("accuracy",) if task.labels else ("pearson", "spearman"))
        assert task.classes == len(task.labels or "1")
        return task.labels

    assert kind("text\tlabel", "1", "2.5") is None
    assert kind("text\tlabel", "1", "2") == ("1", "2")
    assert kind("text\tscore", "1", "2") is None
    assert kind("text\tscore", "1", "2", kind="classification") == ("1", "2")
    assert kind("text\tlabel", "1", "2.5", kind="classification") == ("1", "2.5")
    assert kind("text\tlabel", "1", "2", kind="regression") is None
    message = refusal(lambda: kind("text\tlabel", "1.5", "2", "n/a"))
    assert "labels such as 1.5 (line 2)" in message and "'n/a' (line 4)" in message and "--task.kind" in message


def test_labels_that_make_no_task(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "a\tx", "b\tx")
    write("eval.txt", "a\tx", "b\ty")
    assert "every row has the label 'x'" in refusal(lambda: custom(tmp_path))
    write("train.txt", "a\tx", "b\tz")
    message = refusal(lambda: custom(tmp_path))
    assert message.startswith(f"{tmp_path / 'eval.txt'}:2: the label 'y' is not in train.txt, which has x, z")


def test_rows_that_cannot_be_read_are_told_before_what_they_leave(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Commas within texts of a .csv without quotation marks leave one row of one class."""
    for name in ("train.csv", "eval.csv"):
        write(name, "text,label", "好,好评", *(f"好,又便宜 {row},差评" for row in range(9)))
    message = refusal(lambda: custom(tmp_path))
    assert "9 rows of train.csv cannot be used" in message and "nothing can be learnt" not in message


def test_quotation_marks_that_json_does_not_have_are_told(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train.json", "dev.json"):
        write(name, '{"text": "a", "label": "x"}', '{"text": "b", "label": "y"}', "{“text”: “c”, “label”: “x”}")
    files = custom(tmp_path)
    assert 'not a JSON object: its quotation marks are “ and ”, where JSON has "' in refusal(
        lambda: list(read_rows(files.task, files.train))
    )


def test_a_column_that_numbers_the_rows_is_no_label(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train.txt", "eval.txt"):
        write(name, *(f"text {row}\t{row}" for row in range(60)))
    message = refusal(lambda: custom(tmp_path))
    assert message.startswith(f"{tmp_path / 'train.txt'}: 60 rows have 60 labels (0, 1, 2 and 57 more)")
    assert all(f"--task.{option}" in message for option in ("label_column", "labels", "kind regression"))
    assert len(custom(tmp_path, labels=[str(row) for row in range(60)]).task.labels or ()) == 60
    assert custom(tmp_path, kind="regression").task.labels is None
    for name in ("train.txt", "eval.txt"):
        write(name, *(f"text {row}\t{row % 52}" for row in range(120)))
    assert len(custom(tmp_path).task.labels or ()) == 52


def test_the_label_that_was_meant_is_told_where_one_is_nearest(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "a\t好评", "b\t差评", "c\t10")
    for label, meant in (("好平", "好评"), ("中评", ""), ("1", "")):  # of which none, or two, are near; a number
        write("eval.txt", f"a\t{label}")
        message = refusal(lambda: custom(tmp_path))
        assert message.endswith(
            f", or leave out the rows with such labels (1 label): --task.drop_labels {shlex.quote(label)}"
        )
        assert (f" (did you mean {meant}?): correct it" in message) == bool(meant)
        assert ("did you mean" in message) == bool(meant)
    bad = refusal(lambda: rows("sst-2", write("dev.tsv", "sentence\tlabel", "fine\tpositve")))
    assert "is not one of negative, positive, 0, 1 (did you mean positive?)" in bad


def test_a_row_without_a_tab_is_asked_for_one_where_its_last_word_may_be_the_label(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    question = " (is there a space where a tab belongs?)"
    write("train.txt", "很好看\t好评", "难看\t差评")
    write("eval.txt", "好看\t好评", "不好看 差评", "又 长")
    files = custom(tmp_path)
    skipped = Skipped()
    assert len(list(read_rows(files.task, files.dev["dev"], skipped))) == 1
    assert [question in message for message in skipped.messages] == [True, False]
    write("train.txt", "很好看 好评", "难看 差评")  # whose labels nobody knows
    assert question in refusal(lambda: custom(tmp_path))
    write("train.csv", "text,label", "很好看\uff0c好评")
    (tmp_path / "train.txt").unlink()
    assert " (is there '\uff0c' where ',' belongs?)" in refusal(lambda: custom(tmp_path))


def test_files_of_other_names_are_to_be_renamed(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("训练.tsv", "text\tlabel", "a\tx")
    assert "Rename" not in refusal(lambda: custom(tmp_path))  # one file is no two
    write("测试.tsv", "text\tlabel", "a\tx")
    assert refusal(lambda: custom(tmp_path)).endswith(". Rename the right files to train.tsv and eval.tsv")
    write("train.tsv", "text\tlabel", "a\tx")
    assert refusal(lambda: custom(tmp_path)).endswith(
        ". Rename the right file to eval.tsv; where all rows are in train.tsv, "
        "take a part of these out, at random, for it"
    )


def test_names_in_capitals_are_to_be_written_small(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train.CSV", "Eval.csv"):
        write(name, "text,label", "a,x")
    assert refusal(lambda: custom(tmp_path)).endswith(". Rename the right files to train.csv and eval.csv")


def test_a_folder_within_and_rows_in_one_file_are_told(tmp_path: Path, write: Callable[..., Path]) -> None:
    (tmp_path / "all" / "data").mkdir(parents=True)
    for name in ("all/data/train.csv", "all/data/dev.csv"):
        write(name, "text,label", "a,x", "b,y")
    meant = f"; the folder has data: did you mean --task.data_dir {tmp_path / 'all' / 'data'}?"
    assert refusal(lambda: custom(tmp_path / "all")).endswith(meant)
    assert refusal(lambda: custom(tmp_path)).endswith("; the folder has all")
    (tmp_path / "all" / "data" / "dev.csv").unlink()
    (tmp_path / "one").mkdir()
    write("one/rows.csv", "text,label", "a,x", "b,y")
    told = ". If rows.csv has all rows, part them, at random, into train.csv and eval.csv (docs/task-data.md, "
    told += "Files, says how)"
    assert refusal(lambda: custom(tmp_path / "one")).endswith(told)
    told = ". Where all rows are in train.csv, take a part of these out, at random, for it"
    assert refusal(lambda: custom(tmp_path / "all" / "data")).endswith(f"; the folder has train.csv{told}")


def test_a_csv_of_another_name_is_to_be_renamed(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train", "eval"):
        write(f"{name}.tsv", "text,label", "a,x", "b,y")
    assert "separated by tabs: as a .csv, call it train.csv" in refusal(lambda: custom(tmp_path))
    for name in ("train", "eval"):
        (tmp_path / f"{name}.tsv").rename(tmp_path / f"{name}.txt")
    assert "(is this a .csv? Then call it train.csv): 'text,label'" in refusal(lambda: custom(tmp_path))
    write("train.txt", "a\tx", "b\ty")
    write("eval.txt", "很好,看\tx", "很好,看")  # where labels are known, one that lacks is no header
    files = custom(tmp_path)
    assert "is this" not in refusal(lambda: list(read_rows(files.task, files.dev["dev"])))


def test_spreadsheets_are_to_be_saved_as_csv(tmp_path: Path, write: Callable[..., Path]) -> None:
    for name in ("train.xlsx", "eval.xlsx"):
        (tmp_path / name).write_bytes(b"PK")
    remedy = "; the folder has eval.xlsx, train.xlsx. Save spreadsheets as .csv in UTF-8 (eval.xlsx, train.xlsx)"
    for name in ("custom", "rte"):
        assert refusal(lambda name=name: open_task(name, str(tmp_path))).endswith(remedy)
    refused = refusal(lambda: rows("sst-2", tmp_path / "eval.xlsx"))
    assert refused.endswith(".json. Save spreadsheets as .csv in UTF-8 (eval.xlsx)")
    write("train.csv", "text,label", "a,x")
    assert refusal(lambda: custom(tmp_path)).endswith(f"train.csv, train.xlsx{remedy[remedy.index('. Save') :]}")


def test_custom_files_are_there_once(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "a\tx", "b\ty")
    needed = "no eval file, which a custom task needs (as .txt, .tsv, .csv, .jsonl, .json); the folder has train.txt"
    assert needed in refusal(lambda: custom(tmp_path))
    write("eval.txt", "a\tx")
    write("dev.csv", "text,label", "a,x")
    assert "found eval.txt and dev.csv: keep" in refusal(lambda: custom(tmp_path))
    (tmp_path / "eval.txt").unlink()
    assert custom(tmp_path).dev["dev"].name == "dev.csv", "files may be of several formats"


def test_rows_that_cannot_be_parsed_do_not_stop_the_look_at_labels(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("train.txt", "a\tx", "broken", "b\ty")
    write("eval.txt", "a\tx")
    files = custom(tmp_path)
    assert files.task.labels == ("x", "y")
    assert label_counts(files.task, files.train, Skipped()) == {"x": 1, "y": 1}
    assert f"{files.train}:2: " in refusal(lambda: label_counts(files.task, files.train))


def test_label_counts_name_classes_without_a_row(write: Callable[..., Path]) -> None:
    path = write("train.tsv", *GLUE["mnli"][:2], GLUE["mnli"][1])
    assert label_counts(TASKS["mnli"], path) == {"contradiction": 0, "entailment": 2, "neutral": 0}


def test_other_suffixes_are_refused(write: Callable[..., Path]) -> None:
    assert "has to end with one of .txt, .tsv, .csv, .jsonl" in refusal(
        lambda: rows("sst-2", write("train.xml", "<a>"))
    )


def test_rows_are_streamed(tmp_path: Path) -> None:
    """20 MB of rows are read in less than 1 MB."""
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\n" + 20_000 * f"{'word ' * 200}\t1\n")
    stream = read_rows(TASKS["sst-2"], path)
    next(stream)
    tracemalloc.start()
    assert sum(1 for _ in islice(stream, 19_000)) == 19_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
