"""What is wrong with a task's files is told before anything heavy is loaded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatinybert.config.task import TaskDataConfig
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.reading.wrong_files import wrong_files


def write(folder: Path, name: str, content: str, encoding: str = "utf-8") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(content, encoding=encoding)
    return path


def wrong(
    folder: Path, task: str = "custom", answers: bool = False, answered: Path | None = None, **options: object
) -> list[str]:
    given = TaskDataConfig.model_validate({"name": task, "data_dir": str(folder), **options})
    return wrong_files(given, answers, answered)


def test_what_is_wrong_with_each_file_is_told(tmp_path: Path) -> None:
    train = write(tmp_path, "train.tsv", "text\ntitle one\n")
    dev = write(tmp_path, "eval.tsv", "text\tlabel\n这部电影很好看我很喜欢我们都很喜欢\t1\n", "gb18030")
    assert len(problems := wrong(tmp_path)) == 2
    assert problems[0].startswith(f"{train}: its header has the columns text, but there is none for the label (")
    assert problems[1].startswith(str(dev)) and "--task.encoding gb18030" in problems[1]
    write(tmp_path, "train.tsv", "text\tlabel\nfine\t1\n")
    dev = write(tmp_path, "eval.tsv", "text\tlabel\n")
    assert wrong(tmp_path) == [f"{dev}: it has no rows"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "gb18030"])
@pytest.mark.parametrize("name", ["{}.tsv", "{}.txt", "{}.csv"])
def test_every_file_in_another_encoding_is_told_at_once(tmp_path: Path, name: str, encoding: str) -> None:
    """Also where the first line, which says what columns there are, cannot be read."""
    rows = "文本\t类别\n这部电影很好看我们都很喜欢\tx\n不好看\ty\n"
    rows = rows.replace("\t", ",") if name.endswith("csv") else rows
    paths = [write(tmp_path, name.format(split), rows, encoding) for split in ("train", "eval", "test", "new")]
    problems = wrong(tmp_path, answers=True, answered=paths[3])
    told = "\n".join(problems)
    assert len(problems) == len(paths)
    for path in paths:
        assert re.search(rf"{path}(:1)?: ", told) and re.search(rf"-t utf-8 ({path}|\"\$f\") > ", told)


@pytest.mark.parametrize("name", ["{}.csv", "{}.tsv", "{}.txt", "{}.jsonl"])
def test_spreadsheets_that_were_renamed_are_told(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / name.format(split) for split in ("train", "eval")]
    for path in paths:
        path.write_bytes(b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml" + bytes(200))
    what = "its first bytes are those of a .xlsx file, whatever it is called: save spreadsheets as .csv in UTF-8"
    told = [f"{paths[0]} (likewise {paths[1]}): {what}"]
    assert wrong(tmp_path) == wrong(tmp_path, encoding="cp1252") == told


def test_a_file_of_another_name_is_told(tmp_path: Path) -> None:
    write(tmp_path, "train.tsv", "sentence\tlabel\nfine\t1\n")
    write(tmp_path, "eval.tsv", "sentence\tlabel\nfine\t1\n")
    (problem,) = wrong(tmp_path, "sst-2")
    assert "no dev.tsv, which sst-2 needs; the folder has eval.tsv, train.tsv" in problem
    with pytest.raises(ValueError, match=r"no dev\.tsv"):
        open_task("sst-2", str(tmp_path))
    assert problem.endswith("; the folder has eval.tsv, train.tsv. --task.name custom reads files with these names")
    (tmp_path / "eval.tsv").rename(tmp_path / "validation.tsv")
    assert wrong(tmp_path, "sst-2")[0].endswith("; the folder has train.tsv, validation.tsv")


def test_files_without_labels_are_looked_at_where_they_are_answered(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        write(tmp_path, f"{name}.tsv", "text\tlabel\nfine\t1\ndull\t0\n")
    test = write(tmp_path, "test.tsv", "nothing\nfine\n")
    assert wrong(tmp_path) == []
    (problem,) = wrong(tmp_path, answers=True)
    with pytest.raises(ValueError) as caught:  # the run says the same
        list(read_rows(open_task("custom", str(tmp_path)).task, test, with_labels=False))
    assert problem == str(caught.value) and problem.startswith(str(test))
    assert problem.endswith(
        "(rename those of this file, as options name those of all files). If the first line is no header, name all "
        "columns in order with --task.columns"
    )
    assert wrong(tmp_path, answers=True, answered=write(tmp_path, "new.txt", "fine\n")) == []


def test_nothing_to_answer_is_told(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        write(tmp_path, f"{name}.tsv", "text\tlabel\nfine\t1\ndull\t0\n")
    (problem,) = wrong(tmp_path, answers=True)
    assert problem == f"--task.data_dir {tmp_path} holds no test file of custom: name a file with --predict.input"


def test_rows_and_labels_are_told_of_every_file(tmp_path: Path) -> None:
    rows = "".join(f"text {number}\t{'good' if number % 2 else 'bad'}\n" for number in range(20))
    train = write(tmp_path, "train.tsv", f"text\tlabel\n{rows}lost\t\n")
    dev = write(tmp_path, "eval.tsv", f"text\tlabel\n{rows}")
    (problem,) = wrong(tmp_path)
    assert problem.startswith(f"{train}:22: no label") and "--task.drop_labels -" in problem
    assert wrong(tmp_path, skip_bad_rows=True) == []
    write(tmp_path, "eval.tsv", f"text\tlabel\n{rows}odd\tgod\n")
    (problem,) = wrong(tmp_path, skip_bad_rows=True)
    assert str(dev) in problem and "did you mean good?" in problem
    problems = wrong(tmp_path, labels=["good", "bad"])
    assert [problem.split(":")[0] for problem in problems] == [str(train), str(dev)]


def test_rows_that_train_are_not_asked_for_where_others_are_answered(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        write(tmp_path, f"{name}.tsv", "text\tlabel\nfine\t1\ndull\t0\nlost\t\n")
    assert len(wrong(tmp_path)) == 2
    assert wrong(tmp_path, answers=True, answered=write(tmp_path, "new.txt", "fine\n")) == []


def test_large_files_are_only_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "eval"):
        write(tmp_path, f"{name}.tsv", "text\tlabel\nfine\t1\ndull\t0\nlost\t\n")
    monkeypatch.setattr("megatinybert.tasks.reading.wrong_files.READ_WHOLE", 50)
    assert wrong(tmp_path) == []
