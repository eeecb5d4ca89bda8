"""Semantic search by a run's student and its teacher, side by side.

What cannot be searched is refused before torch is imported.
"""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from megatinybert.config.hub import settle_hub
from megatinybert.config.recipe import recorded_section
from megatinybert.config.run_folder import several_students
from megatinybert.programs.found import TOP, Answer, Hit, Search
from megatinybert.programs.passages import LEAST, LEAST_WORDS, cut_passages, even_sample
from megatinybert.programs.search_text import read_text, text_files
from megatinybert.programs.start import say
from megatinybert.programs.unfinished import check_student, not_a_run
from megatinybert.runtime.counts import counted
from megatinybert.runtime.files import file_sha256, write_atomically
from megatinybert.runtime.findings import Findings, refusal
from megatinybert.runtime.text_table import cells_of

if TYPE_CHECKING:
    from torch import Tensor

FILE = "questions.json"  # in the run's output folder
SHOWN_PASSAGES, SHOWN_QUESTIONS = 3, 3
_COLUMN, _LINES = 54, 2  # characters of a line and lines of a passage as it is shown


def search_run(run: Path, texts: Sequence[Path], shown: Sequence[str], questions: Path | None, most: int) -> str:
    """Search `texts` with both models of the run in the folder `run`, and write questions.json there. -> text for a
    terminal.

    shown: questions that are shown; without any, the first few of `questions`, a file. most: passages to search.
    Raises ValueError listing what is missing.
    """
    findings = Findings()
    teacher = findings.attempt("RUN_DIR", teacher_of, run)
    data = recorded_section(run, "data")  # {} of a folder that `teacher_of` refuses
    asked = findings.attempt("--questions", all_questions, shown, questions, data)
    every = findings.attempt("--text", read_passages, texts, data)
    if most < TOP:
        findings.attempt("--passages", _refuse_passages, most)
    if findings.failed:
        raise ValueError(refusal(findings.texts("fail")))
    assert teacher and asked and every
    found = search(teacher, run / "student", even_sample(every, most), len(every), asked)
    record = as_record(found, texts, file_sha256(run / "student" / "model.safetensors"))
    write_atomically(run / FILE, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return show(found, len(shown) or SHOWN_QUESTIONS)


def teacher_of(run: Path) -> str:
    """Folder or hub name of the teacher of a finished run. Raises ValueError where `run` is none."""
    config_file = run / "config.yaml"
    if not config_file.is_file():
        raise ValueError(not_a_run(run, config_file.name))
    if several := several_students(run):
        raise ValueError(f"{run} {several}")
    check_student(run)
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    if config.get("objective", {}).get("name") == "mlm":
        raise ValueError(f"{run} was trained by masked-language modelling, and has no teacher to search with")
    return str(config["teacher"]["model"])


def all_questions(shown: Sequence[str], file: Path | None, data: Mapping[str, Any]) -> list[str]:
    """Those that are shown first, then those of the file, each once. data: how the run's text was read. Raises
    ValueError where there is none.
    """
    lines = read_text("--questions", file, data).splitlines() if file else []
    questions = list(dict.fromkeys(line.strip() for line in [*shown, *lines] if line.strip()))
    if not questions:
        where = f"--questions {file} holds no question, one a line" if file else "there is no question"
        raise ValueError(f'{where}: ask with --question "...", or name a file of questions with --questions')
    return questions


def read_passages(paths: Sequence[Path], data: Mapping[str, Any]) -> list[str]:
    """The passages of a text. data: how the run's own text was read. Raises ValueError where they are fewer than the
    TOP that is compared.
    """
    passages = cut_passages("\n\n".join(read_text("--text", file, data) for file in text_files(paths, data)))
    if len(passages) < TOP:
        raise ValueError(
            f"--text {' '.join(map(str, paths))} holds {counted(len(passages), 'passage')} of at least {LEAST_WORDS} "
            f"words, or {LEAST} Chinese characters, and the nearest {TOP} are compared: name more text"
        )
    return passages


def search(teacher: str, student: Path, passages: list[str], of: int, questions: list[str]) -> Search:
    """Ask all questions. teacher: folder or hub name. Raises ValueError where a model cannot be loaded."""
    settle_hub({"the teacher": teacher})
    say("loading PyTorch and Transformers")
    import torch
    from torch.nn.functional import normalize

    from megatinybert.runtime.devices import choose_accelerator

    choose_accelerator()  # before DeepSpeed is imported, which else warns of what it chooses

    from megatinybert.programs.embed import embed
    from megatinybert.training.sentence_vectors import read_projection

    say("loading teacher and student")
    found = embed([teacher, str(student)], str(student), [*passages, *questions])
    theirs, ours = found.vectors
    asks = [(theirs, theirs), (ours, ours)]  # (vectors of the questions, of the passages)
    projection = read_projection(student)
    if projection:
        projected = normalize(projection(found.means[1]), dim=-1)
        asks += [(projected, projected), (projected, theirs)]
    answers = []
    for number, question in enumerate(questions, start=len(passages)):
        hits = [_nearest(index_ND[: len(passages)] @ asked_ND[number]) for asked_ND, index_ND in asks]
        answers.append(Answer(question, *hits))
    return Search(passages, of, answers, found.dtype, torch.get_num_threads(), *found.seconds)


def _nearest(cosines_N: Tensor) -> list[Hit]:
    """The TOP passages, the nearest first; of equally near ones that which comes first in the text."""
    order = cosines_N.argsort(descending=True, stable=True)[:TOP].tolist()
    return [Hit(passage, float(cosines_N[passage])) for passage in order]


def as_record(found: Search, texts: Sequence[Path], student: str) -> dict[str, Any]:
    """questions.json. student: sha256 of its weights, by which the report knows whether they are still the same."""

    def hits(of: list[Hit]) -> list[dict[str, Any]]:
        return [{"passage": found.passages[hit.passage], "cosine": hit.cosine} for hit in of[:SHOWN_PASSAGES]]

    return {
        "text": [str(path) for path in texts],
        "passages": len(found.passages),
        "passages_in_text": found.of,
        "top": TOP,
        "shared": found.shared,
        "shared_through_projection": found.shared_projected,
        "shared_on_teachers_index": found.shared_on_index,
        "by_chance": found.by_chance,
        "student_sha256": student,
        "dtype": found.dtype,
        "threads": found.threads,
        "seconds": {"teacher": found.teacher_seconds, "student": found.student_seconds},
        "questions": [
            {
                "question": answer.question,
                "shared": answer.shared,
                "teacher": hits(answer.teacher),
                "student": hits(answer.student),
            }
            for answer in found.answers
        ],
    }


def shared_by(run: Path) -> tuple[float, str] | None:
    """What questions.json says the student in the folder `run` shares with its teacher, and of what that is the mean.

    None where it is not there, or was asked of an earlier student. Raises ValueError where it is damaged.
    """
    file = run / FILE
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        same = record["student_sha256"] == file_sha256(run / "student" / "model.safetensors")
        asked = f"{counted(len(record['questions']), 'question')} about {record['passages']:,} passages"
        of = f"the mean over {asked}; by chance {100 * record['by_chance']:.2g} %"
        return (float(record["shared"]), of) if same else None
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{file} is damaged ({problem!r}): delete it, or run megatinybert.search again") from problem


def show(found: Search, count: int) -> str:
    """What was found for the first `count` questions, side by side, and the overlap over all."""
    lines, marks = [], False
    for answer in found.answers[:count]:
        lines += [answer.question, f"     {'teacher':<{_COLUMN + 4}}student"]
        tops = [hits[:SHOWN_PASSAGES] for hits in (answer.teacher, answer.student)]
        both = set.intersection(*({hit.passage for hit in top} for top in tops))
        marks = marks or bool(both)
        for rank, pair in enumerate(zip(*tops, strict=True), start=1):
            cells = [_cell(found.passages[hit.passage], hit.passage in both) for hit in pair]
            for number, (left, right) in enumerate(itertools.zip_longest(*cells, fillvalue="")):
                blank = " " * (_COLUMN + 3 - cells_of(left))
                lines.append(f"  {rank if number == 0 else ' '} {left}{blank} {right}".rstrip())
        lines.append("")
    through = []
    if found.shared_projected is not None and found.shared_on_index is not None:
        through = [
            f"With its vectors projected to the teacher's width, it finds {100 * found.shared_projected:.0f} %.",
            f"Questions so projected find {100 * found.shared_on_index:.0f} % on an index of the teacher's vectors.",
        ]
    return "\n".join(
        [
            *lines,
            *([f"* both found it among their first {SHOWN_PASSAGES}."] if marks else []),
            f"Of the teacher's {TOP} nearest passages, the student finds {100 * found.shared:.0f} % among its own "
            f"{TOP} (mean over {counted(len(found.answers), 'question')}; by chance {100 * found.by_chance:.2g} %).",
            *through,
            _how_many(len(found.passages), found.of),
            f"Embedding took the teacher {found.teacher_seconds:.1f} s and the student {found.student_seconds:.1f} s, "
            f"in {found.dtype} on {counted(found.threads, 'thread')}.",
        ]
    )


def _cell(passage: str, marked: bool) -> list[str]:
    """The lines of one passage in its column, cut to fit."""
    characters = _COLUMN * len(passage) // cells_of(passage)  # a line's, at the passage's mean width
    lines = textwrap.wrap(passage, characters, max_lines=_LINES, placeholder=" ...")
    if lines[-1] == "...":  # there is no space in what follows, as in Chinese
        lines[-1] = textwrap.wrap(passage, characters)[_LINES - 1][: characters * (_COLUMN - 4) // _COLUMN] + " ..."
    return [f"{'*' if marked and number == 0 else ' '} {line}" for number, line in enumerate(lines)]


def _how_many(searched: int, of: int) -> str:
    """searched, of: passages."""
    if searched == of:
        return f"Searched all {of:,} passages of the text."
    return f"Searched {searched:,} of the {of:,} passages of the text, evenly spread; --passages {of} searches all."


def _refuse_passages(most: int) -> None:
    raise ValueError(f"--passages {most}: the nearest {TOP} are compared, so it has to be at least {TOP}")
