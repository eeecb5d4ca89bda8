"""Semantic search by student and teacher: passages, what is nearest, the overlap, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModel, BertTokenizerFast

from megatinybert.programs import search
from megatinybert.programs.embed import embed
from megatinybert.programs.passages import cut_passages, even_sample
from megatinybert.programs.search import Answer, Hit, Search
from megatinybert.search import main
from megatinybert.training.sentence_vectors import Projection, write_modules
from tests.helpers.toys import REPOSITORY, WORDS, environment, write_teacher

QUESTIONS = [f"w{3 * number} w{3 * number + 1} w{number}?" for number in range(6)]


def _text(documents: int) -> str:
    """Documents of 24 to 39 words in two lines each."""
    lines = []
    for document in range(documents):
        words = [WORDS[(document * document + 7 * place) % len(WORDS)] for place in range(24 + document % 16)]
        lines += [" ".join(words[:11]), " ".join(words[11:]), ""]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run/, its teacher/, a text.txt and questions.txt. Do not write there."""
    folder = tmp_path_factory.mktemp("search")
    write_teacher(folder / "teacher")
    write_teacher(folder / "run" / "student", layers=2, hidden=12)
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump({"teacher": {"model": str(folder / "teacher")}}))
    (folder / "text.txt").write_text(_text(60))
    (folder / "questions.txt").write_text("\n\n".join(QUESTIONS) + "\n")
    return folder


def test_vectors_are_those_of_plain_transformers_one_text_at_a_time(folder: Path) -> None:
    """Batches by length and padding change nothing but the rounding."""
    texts = ["w1", "w5 w6 w7 w8 w9 w10", " ".join(WORDS), "w3 w4"]
    student = folder / "run" / "student"
    found = embed([str(folder / "teacher"), str(student)], str(student), texts)
    tolerance = 1e-5 if found.dtype == "float32" else 0.03
    tokenizer = BertTokenizerFast.from_pretrained(student)
    for name, vectors in zip((folder / "teacher", student), found.vectors, strict=True):
        model = AutoModel.from_pretrained(name, add_pooling_layer=False).eval()
        for text, vector in zip(texts, vectors, strict=True):
            batch = tokenizer(text, truncation=True, max_length=64, return_tensors="pt")  # all positions it has
            with torch.no_grad():
                mean = model(**batch).last_hidden_state[0].mean(dim=0)
            assert torch.allclose(vector, mean / mean.norm(), atol=tolerance)


def test_nearest_passages_and_overlap_are_those_of_a_literal_computation(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    passages = even_sample(cut_passages((folder / "text.txt").read_text()), 40)
    found = search.search(str(folder / "teacher"), run / "student", passages, 60, QUESTIONS)
    vectors = embed([str(folder / "teacher"), str(run / "student")], str(run / "student"), [*passages, *QUESTIONS])
    shares = []
    for number, answer in enumerate(found.answers):
        tops = []
        for of_model, hits in zip(vectors.vectors, (answer.teacher, answer.student), strict=True):
            cosines = [float(of_model[each] @ of_model[40 + number]) for each in range(40)]
            nearest = sorted(range(40), key=lambda passage: -cosines[passage])[:10]
            assert [hit.cosine for hit in hits] == pytest.approx([cosines[passage] for passage in nearest], abs=1e-6)
            tops.append({hit.passage for hit in hits})
        shares.append(len(tops[0] & tops[1]) / 10)
    assert found.shared == pytest.approx(sum(shares) / 6) and 0 < found.shared < 1
    assert found.shared_projected is None and found.shared_on_index is None
    assert found.by_chance == 0.25

    options = [str(run), "--text", str(folder / "text.txt"), "--questions", str(folder / "questions.txt")]
    assert main([*options, "--passages", "40"]) == 0
    record = json.loads((run / "questions.json").read_text())
    assert record["shared"] == found.shared and (record["passages"], record["passages_in_text"]) == (40, 60)
    assert [each["question"] for each in record["questions"]] == QUESTIONS
    assert [each["shared"] for each in record["questions"]] == shares
    assert record["questions"][0]["teacher"][0]["passage"] == passages[found.answers[0].teacher[0].passage]
    shared, of = search.shared_by(run) or (None, "")
    assert shared == found.shared and of.startswith("the mean over 6 questions about 40 passages; by chance ")


def test_marks_are_explained_where_there_are_some() -> None:
    passages = [f"passage {number}" for number in range(20)]
    first, last = ([Hit(start + number, 0.5) for number in range(10)] for start in (0, 10))
    for student, explained in ((first, True), (last, False)):
        text = search.show(Search(passages, 20, [Answer("?", first, student)], "float32", 1, 1.0, 1.0), 1)
        assert ("* both found it among their first 3." in text) == explained == ("* passage 0" in text)


def test_its_process_says_what_it_does_and_shows_no_warning(folder: Path, tmp_path: Path) -> None:
    """DeepSpeed, which some modules import, warns of the accelerator that it chooses unless it is told one before."""
    run = shutil.copytree(folder / "run", tmp_path / "run")
    command = [sys.executable, "-m", "megatinybert.search", str(run), "--text", str(folder / "text.txt")]
    done = subprocess.run(
        [*command, "--question", "w1 w2?"], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("embedding: ")]
    assert lines == ["loading PyTorch and Transformers", "loading teacher and student"]
    assert done.returncode == 0 and done.stdout.startswith("w1 w2?\n")


def test_through_its_projection_a_student_searches_the_teachers_index(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    generator = torch.Generator().manual_seed(0)
    projection = Projection(torch.randn(24, 12, generator=generator), torch.randn(24, generator=generator))
    write_modules(run / "student", projection, 16)
    passages = even_sample(cut_passages((folder / "text.txt").read_text()), 40)
    found = search.search(str(folder / "teacher"), run / "student", passages, 60, QUESTIONS)
    means = embed([str(folder / "teacher"), str(run / "student")], str(run / "student"), [*passages, *QUESTIONS]).means
    theirs, ours = means[0], means[1] @ projection.weight_ED.T + projection.bias_E
    for index, hits_of, shared in (
        (ours, lambda answer: answer.projected, found.shared_projected),
        (theirs, lambda answer: answer.on_index, found.shared_on_index),
    ):
        shares = []
        for number, answer in enumerate(found.answers, start=40):
            cosines = torch.nn.functional.cosine_similarity(index[:40], ours[number])
            nearest = cosines.argsort(descending=True)[:10].tolist()
            assert [hit.passage for hit in hits_of(answer)] == nearest
            shares.append(len({hit.passage for hit in answer.teacher} & set(nearest)) / 10)
        assert shared == pytest.approx(sum(shares) / 6)
    assert found.shared_projected is not None and found.shared_on_index is not None
    lines = search.show(found, 1).splitlines()
    assert lines[-4:-2] == [
        f"With its vectors projected to the teacher's width, it finds {100 * found.shared_projected:.0f} %.",
        f"Questions so projected find {100 * found.shared_on_index:.0f} % on an index of the teacher's vectors.",
    ]
    record = search.as_record(found, [folder / "text.txt"], "")
    assert record["shared_through_projection"] == found.shared_projected
    assert record["shared_on_teachers_index"] == found.shared_on_index


def test_a_student_that_is_its_teacher_finds_the_same(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(run / "student")
    shutil.copytree(folder / "teacher", run / "student")
    assert main([str(run), "--text", str(folder / "text.txt"), "--question", QUESTIONS[0]]) == 0
    assert search.shared_by(run) == (1.0, "the mean over 1 question about 60 passages; by chance 17 %")


def test_what_is_printed() -> None:
    passages = [f"p{number} " + "long " * 40 for number in range(20)]
    first, second = [Hit(number, 1.0) for number in range(10)], [Hit(number, 1.0) for number in range(2, 12)]
    answers = [Answer("Which?", first, second), Answer("And which?", first, first), Answer("Not shown?", first, first)]
    found = search.Search(passages, 2000, answers, "float32", 1, 2.5, 1.25)
    lines = search.show(found, 2).splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0] == "Which?" and lines[1].split() == ["teacher", "student"]
    rows = [line.split() for line in lines if line[:4].strip().isdigit()]
    assert [row[:2] for row in rows] == [
        ["1", "p0"],
        ["2", "p1"],
        ["3", "*"],
        *([str(rank), "*"] for rank in (1, 2, 3)),
    ]
    assert "* p2" in lines[2] and "  p4" in lines[6] and lines[3].count("...") == 2
    assert "And which?" in lines and "Not shown?" not in lines
    end = " ".join(lines[-3:])
    assert "the student finds 93 % among its own 10 (mean over 3 questions; by chance 50 %)" in end
    assert "Searched 20 of the 2,000 passages of the text, evenly spread; --passages 2000 searches all." in end
    assert "2.5 s and the student 1.2 s, in float32 on 1 thread." in end


def test_a_passage_without_spaces_fills_its_lines() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 80)))
    passages = [text, *(f"{text[:50]}{number}" for number in range(9))]
    hits = [Hit(number, 1.0) for number in range(10)]
    lines = search.show(Search(passages, 10, [Answer("?", hits, hits)], "float32", 1, 1.0, 1.0), 1).splitlines()
    assert lines[2].split() == ["1", "*", text[:27], "*", text[:27]]
    assert lines[3].split() == [text[27:52], "...", text[27:52], "..."]
    assert lines[5].split() == [f"{text[27:50]}0"] * 2
    assert "Searched all 10 passages of the text." in lines


def test_the_texts_are_files_and_folders(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    lines, several = (folder / "text.txt").read_text().splitlines(), tmp_path / "several"
    (several / "deep").mkdir(parents=True)
    (several / "deep" / "a.txt").write_text("\n".join(lines[:30]))  # ten documents
    (several / "b.md").write_text("Not a text of a folder.")
    (tmp_path / "c.md").write_text("\n".join(lines[30:]))
    options = [str(run), "--text", str(several), str(tmp_path / "c.md"), "--question", QUESTIONS[0]]
    assert main(options) == 0
    told = capsys.readouterr()
    assert "Searched all 60 passages of the text." in told.out
    assert f"{several}: left aside, since not .txt, " in told.err and ": several/b.md\n" in told.err
    record = json.loads((run / "questions.json").read_text())
    assert record["text"] == [str(several), str(tmp_path / "c.md")]


def test_questions_of_the_command_line_come_first_and_each_is_asked_once(folder: Path) -> None:
    assert search.all_questions(["new?", QUESTIONS[1]], folder / "questions.txt", {}) == [
        *("new?", QUESTIONS[1], QUESTIONS[0]),
        *QUESTIONS[2:],
    ]
    assert search.all_questions([], folder / "questions.txt", {}) == QUESTIONS


def test_what_cannot_be_searched_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "latin-1.txt").write_bytes(b"caf\xe9")
    (tmp_path / "gbk.txt").write_bytes("one\n很好看、我们大家都很喜欢看这部电影\n".encode("gb18030"))
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "pages").mkdir()
    text, ask = ["--text", str(folder / "text.txt")], ["--question", "w1?"]
    for options, message in (
        ([*text, "--questions", str(tmp_path / "empty.txt")], "empty.txt holds no question, one a line"),
        ([*text, "--questions", str(tmp_path / "none.txt")], "none.txt: No such file"),
        (["--text", str(tmp_path / "latin-1.txt"), *ask], "latin-1.txt:1: not valid UTF-8 (byte 0xe9)"),
        (["--text", str(tmp_path / "gbk.txt"), *ask], "gbk.txt:2: not valid UTF-8 (byte 0xba). These bytes are valid"),
        ([*text, "--questions", str(tmp_path / "gbk.txt")], "into its place: iconv -f gb18030 -t utf-8 "),
        (["--text", str(tmp_path / "pages"), *ask], "pages: no .txt, .jsonl, .json (each"),
        ([*text, "--questions", str(tmp_path)], "is a folder: name one text file"),
    ):
        assert main([str(run), *options]) == 2
        assert message in capsys.readouterr().err
    (run / "config.yaml").write_text("objective: {name: mlm}\nteacher: {model: null}\n")
    assert main([str(run), *text, *ask]) == 2
    assert "has no teacher to search with" in capsys.readouterr().err
    (run / "config.yaml").write_text(yaml.safe_dump({"teacher": {"model": str(tmp_path / "gone")}}))
    assert main([str(run), *text, *ask]) == 2
    assert f"{tmp_path / 'gone'}: its configuration cannot be used" in capsys.readouterr().err
    (run / "student" / "config.json").unlink()
    assert main([str(run), *text, *ask]) == 2
    assert "is unfinished: it holds no student/" in capsys.readouterr().err
    assert not (run / "questions.json").exists()
