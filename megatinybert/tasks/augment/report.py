"""What an augmentation says at its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from megatinybert.config.augment import AugmentOptions
from megatinybert.runtime.counts import counted
from megatinybert.tasks.augment.chunks import texts_of
from megatinybert.tasks.augment.output import Totals
from megatinybert.tasks.augment.words import has_chinese_word
from megatinybert.tasks.reading.read import Row

_ROWS = 1024  # among which Chinese is looked for


@dataclass(frozen=True)
class AugmentReport:
    """was_whole: the file was there already. seconds: of this call. about_vectors: what they gave; "" without any.
    messages: the first about skipped rows.
    """

    totals: Totals
    was_whole: bool
    seconds: float
    about_vectors: str = ""
    messages: Sequence[str] = ()

    @property
    def told(self) -> str:
        """As a line of a run."""
        done = "done already" if self.was_whole else f"{self.seconds:,.0f} s"
        more = f"; {self.about_vectors}" if self.about_vectors else ""
        return f"{counted(self.totals.rows_out, 'row')} out of {self.totals.rows:,} ({done}){more}"


def about_vectors(options: AugmentOptions, totals: Totals, rows: Iterable[Row]) -> str:
    """How many of the new words are from the vectors, and why none is of a Chinese text whose characters are words.

    "" without vectors, and of a file by an earlier version, which did not count.
    """
    if options.vectors is None or totals.by_vectors is None:
        return ""
    by_model = totals.words - totals.by_vectors
    told = f"{totals.by_vectors:,} of the new words are from the vectors and {by_model:,} from the model"
    if totals.by_vectors or options.segmenter != "none":
        return told
    if not any(has_chinese_word(text) for row in islice(rows, _ROWS) for text in texts_of(row)):
        return told
    option = options.names["segmenter"]
    return f"{told}: each Chinese character is a word here; {option} jieba looks whole words up in the vectors"
