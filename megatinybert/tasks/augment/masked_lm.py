"""A masked-LM's proposals, many words per forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import BertForMaskedLM

from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_model
from megatinybert.models.masked_lm import has_mlm_head


@dataclass(frozen=True)
class Query:
    """A sequence with a word masked.

    ids: int64 (S,), as the model reads them. first_segment: how many of them are of token type 0. mask: where the
    first [MASK] is. masks: how many there are, side by side. original: the id that must not come back, or -1.
    """

    ids: np.ndarray
    first_segment: int
    mask: int
    masks: int = 1
    original: int = -1

    def filled(self, ids: Sequence[int]) -> Query:
        """The query that is left when the first masks are filled with `ids`."""
        rest = self.ids.copy()
        rest[self.mask : self.mask + len(ids)] = ids
        return Query(rest, self.first_segment, self.mask + len(ids), self.masks - len(ids))


class Filler:
    """Fills masks with the likeliest tokens.

    A batch holds masked sequences of all kinds of texts, alike in length, and the vocabulary's scores are computed at
    the masked positions alone. The order of batches depends on the queries and on batch_tokens, nothing else.
    """

    def __init__(self, model: BertForMaskedLM, pad: int, candidates: int, batch_tokens: int) -> None:
        """candidates: of each word. batch_tokens: of one forward pass, padding included, except for longer queries."""
        self._model, self._pad, self._candidates, self._batch_tokens = model, pad, candidates, batch_tokens
        self._last_type = model.config.type_vocab_size - 1

    def fill(self, queries: Sequence[Query]) -> list[list[tuple[int, ...]]]:
        """The likeliest fillings of each query, in ascending order of ids: one id for each of its masks.

        Of several masks the first is filled with each of its likeliest ids; from there on greedily, from left to right.
        """
        found: list[list[tuple[int, ...]]] = [
            [(best,) for best in ids] for ids in self._likeliest(queries, self._candidates).tolist()
        ]
        while True:
            open_ones = [
                (fillings, number, query.filled(filling))
                for query, fillings in zip(queries, found, strict=True)
                for number, filling in enumerate(fillings)
                if len(filling) < query.masks
            ]
            if not open_ones:
                return found
            following = self._likeliest([query for _, _, query in open_ones], 1)
            for (fillings, number, _), ids in zip(open_ones, following, strict=True):
                fillings[number] += (int(ids[0]),)

    def _likeliest(self, queries: Sequence[Query], count: int) -> np.ndarray:
        """The `count` likeliest ids at the first mask of each query: int64 (queries, count)."""
        best = np.empty((len(queries), count), dtype=np.int64)
        order = sorted(range(len(queries)), key=lambda index: (len(queries[index].ids), index))
        for batch in _batches(order, [len(query.ids) for query in queries], self._batch_tokens):
            logits = self._logits([queries[index] for index in batch])
            best[batch] = top_ids(logits, count).cpu().numpy()
        return best

    @torch.inference_mode()
    def _logits(self, queries: Sequence[Query]) -> Tensor:
        """Scores of the vocabulary at the first mask of each query: float32 (queries, V)."""
        device = self._model.device
        rows = torch.arange(len(queries), device=device)
        longest = max(len(query.ids) for query in queries)
        ids = np.full((len(queries), longest), self._pad)
        types = np.zeros_like(ids)
        mask = np.zeros_like(ids)
        for row, query in enumerate(queries):
            ids[row, : len(query.ids)] = query.ids
            types[row, query.first_segment : len(query.ids)] = self._last_type
            mask[row, : len(query.ids)] = 1
        states = self._model.bert(
            input_ids=torch.from_numpy(ids).to(device),
            token_type_ids=torch.from_numpy(types).to(device),
            attention_mask=None if mask.all() else torch.from_numpy(mask).to(device),
        ).last_hidden_state
        masked = states[rows, torch.tensor([query.mask for query in queries], device=device)]
        logits: Tensor = self._model.cls(masked).float()
        original = torch.tensor([query.original for query in queries], device=device)
        logits[rows[original >= 0], original[original >= 0]] = -torch.inf
        return logits


def top_ids(logits: Tensor, count: int) -> Tensor:
    """The ids of the `count` largest logits of each row, in ascending order of ids: (B, V) -> int64 (B, count).

    Of equal logits the lower ids are taken. Raises ValueError where a row has no `count` finite ones.
    """
    threshold = logits.topk(count).values[:, -1:]
    if not torch.isfinite(threshold).all():
        raise ValueError("the masked-LM gives scores that are not finite: are its weights those of a trained model?")
    chosen = logits >= threshold
    for row in (chosen.sum(1) > count).nonzero().flatten().tolist():
        ties = (logits[row] == threshold[row]).nonzero().flatten()
        chosen[row, ties[count - int(chosen[row].sum()) :]] = False
    return chosen.nonzero()[:, 1].view(-1, count)


def load_masked_lm(name: str, option: str, dtype: torch.dtype, device: torch.device) -> BertForMaskedLM:
    """A BERT with its masked-LM head, in eval mode. Raises ValueError where the files hold no such head, or no BERT."""
    read_bert_config(name, option)
    if not has_mlm_head(name):
        raise ValueError(
            f"{option} {name} has no masked-LM head, so it can propose no words: name one that has, or train a head "
            "on this encoder first: launch/general.sh with --objective.name mlm"
        )
    model: BertForMaskedLM = load_model(BertForMaskedLM, name, f"{option} {name}")
    return model.eval().requires_grad_(False).to(device, dtype)


def _batches(order: Sequence[int], lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Runs of `order`, which is by length, that have at most so many tokens when padded; one query at least."""
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * lengths[index] > tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
