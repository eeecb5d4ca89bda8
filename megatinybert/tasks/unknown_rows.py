"""Rows that a tokenizer does not know, told before PyTorch is loaded."""

from __future__ import annotations

from contextlib import suppress

from megatinybert.config.task import CONTINUES_ANYWAY
from megatinybert.corpus.tokenizer import special_ids
from megatinybert.corpus.vocabulary import Vocabulary, are_mostly_unknown
from megatinybert.tasks.rows import count_unknown
from megatinybert.tasks.rows_now import RowsNow

_ROWS = 256  # that are looked at


def unknown_rows(now: RowsNow) -> list[str]:
    """What to say of development rows that are mostly [UNK] to the run's tokenizer, which the run would refuse unless
    it is to continue anyway. Nothing is said where `RowsNow` opens nothing.
    """
    config = now.config
    with suppress(ValueError, OSError):  # which the run tells
        if not config.task.force and now.opened:
            files, tokenizer = now.opened
            split, path = next(iter(files.dev.items()))
            vocabulary = Vocabulary(tokenizer, config.teacher.tokenizer or config.teacher.model)
            rows = now.encoded(path, _ROWS)
            unknown, tokens = count_unknown(rows, special_ids(tokenizer), vocabulary.unknown_id)
            if are_mostly_unknown(unknown, tokens):
                told = vocabulary.unknowns(unknown, tokens)
                return [f"{split} ({path}): in a sample {told}; {CONTINUES_ANYWAY}"]
    return []
