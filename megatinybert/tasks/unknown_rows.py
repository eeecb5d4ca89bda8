"""Rows that a tokenizer does not know, told before PyTorch is loaded."""

from __future__ import annotations

from contextlib import suppress

from megatinybert.config.task import CONTINUES_ANYWAY, TaskConfig
from megatinybert.corpus.tokenizer import special_ids
from megatinybert.corpus.vocabulary import FAR_TOO_MANY_UNKNOWN, Vocabulary
from megatinybert.tasks.rows import count_unknown
from megatinybert.tasks.rows_now import encoded_now, open_early

_ROWS = 256  # that are looked at


def unknown_rows(config: TaskConfig) -> list[str]:
    """What to say of development rows that are mostly [UNK] to the run's tokenizer, which the run would refuse unless
    it is to continue anyway. Nothing is said where `rows_now` does not look either.
    """
    with suppress(ValueError, OSError):  # which the run tells
        if not config.task.force and (found := open_early(config)):
            files, tokenizer = found
            split, path = next(iter(files.dev.items()))
            vocabulary = Vocabulary(tokenizer, config.teacher.tokenizer or config.teacher.model)
            rows = encoded_now(config, files, tokenizer, path, _ROWS)
            unknown, tokens = count_unknown(rows, special_ids(tokenizer), vocabulary.unknown_id)
            if unknown > FAR_TOO_MANY_UNKNOWN * tokens:
                told = vocabulary.unknowns(unknown, tokens)
                return [f"{split} ({path}): in a sample {told}; {CONTINUES_ANYWAY}"]
    return []
