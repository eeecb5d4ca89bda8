"""What a semantic search by student and teacher found, and how much of it they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

TOP = 10  # passages that are compared


class Hit(NamedTuple):
    """passage: its number among those that were searched. cosine: with the question."""

    passage: int
    cosine: float


@dataclass(frozen=True)
class Answer:
    """What was found for a question: the TOP passages by each model, the nearest first.

    projected: by the student's vectors after its projection to the teacher's width; on_index: by these of the question
    among the teacher's of the passages. None of a student that has no projection.
    """

    question: str
    teacher: list[Hit]
    student: list[Hit]
    projected: list[Hit] | None = None
    on_index: list[Hit] | None = None

    @property
    def shared(self) -> float:
        """Share of the passages that the teacher found which the student found, too."""
        return self.shared_by(self.student)

    def shared_by(self, hits: list[Hit]) -> float:
        """The same of other hits than the student's."""
        theirs, ours = ({hit.passage for hit in each} for each in (self.teacher, hits))
        return len(theirs & ours) / len(theirs)


@dataclass(frozen=True)
class Search:
    """of: passages in the whole text. dtype, threads: by which both models ran. seconds: of each to embed it all."""

    passages: list[str]
    of: int
    answers: list[Answer]
    dtype: str
    threads: int
    teacher_seconds: float
    student_seconds: float

    @property
    def shared(self) -> float:
        """Mean over the questions."""
        return sum(answer.shared for answer in self.answers) / len(self.answers)

    @property
    def shared_projected(self) -> float | None:
        """The same through the projection; None without one."""
        return _mean([answer.shared_by(answer.projected) for answer in self.answers if answer.projected])

    @property
    def shared_on_index(self) -> float | None:
        """The same of the student's questions, through the projection, on an index of the teacher's vectors."""
        return _mean([answer.shared_by(answer.on_index) for answer in self.answers if answer.on_index])

    @property
    def by_chance(self) -> float:
        """What `shared` would be if the student chose at random."""
        return TOP / len(self.passages)


def _mean(shares: list[float]) -> float | None:
    return sum(shares) / len(shares) if shares else None
