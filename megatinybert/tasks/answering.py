"""A fine-tuned teacher whose answer to a row does not depend on the batch that the row comes in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from megatinybert.models.capture import Features, Wanted, padding_mask, run_captured
from megatinybert.models.load import Teacher
from megatinybert.samples.batches import as_tensors

MULTIPLE = 8  # of the padded lengths
_ROWS = {"cpu": 8}  # of a pass, by device; on others small ones would leave most of it idle
_ROWS_ELSEWHERE = 32


class Answering(Teacher):
    """A classifier that answers each row in a pass whose shape the row alone decides.

    Kernels round by the shapes that they are given, and so would a row's logits by the batch: by its padded length, and
    by its number of rows, if few. Here all passes have as many rows, of the row's own length rounded up to a
    `MULTIPLE`. In which place a row is, and which others are beside it, has changed no bit (docs/task.md).
    """

    @property
    def rows(self) -> int:
        """How many each pass has."""
        return _ROWS.get(self.model.device.type, _ROWS_ELSEWHERE)

    @torch.no_grad()
    def features(self, batch: dict[str, Tensor], wanted: Wanted | None = None) -> Features:
        """The logits alone, (B, C) in the model's dtype: those that the batch holds, or else the model's own.

        batch: of `EncodedRows`.
        """
        if "teacher_logits" in batch:
            return super().features(batch)
        ids_BS, mask_BS = batch["input_ids"], padding_mask(batch)
        real_BS = torch.ones_like(ids_BS, dtype=torch.bool) if mask_BS is None else mask_BS
        inputs = {"input_ids": ids_BS, "token_type_ids": batch["token_type_ids"], "attention_mask": real_BS.long()}
        lengths, rows = self._passes(real_BS.sum(dim=1).cpu().numpy())  # the one time that the host waits for a GPU
        order = np.concatenate(rows)
        place = np.unique(order, return_index=True)[1]  # the first of a row's, ahead of those that fill its pass up
        moved = as_tensors({"order": order, "place": place}, ids_BS.device)
        parts = {name: tensor.index_select(0, moved["order"]).split(self.rows) for name, tensor in inputs.items()}
        answers = []
        for index, length in enumerate(lengths):
            of_pass = {name: _fitted(tensors[index], length) for name, tensors in parts.items()}
            logits = run_captured(self.model, of_pass, Wanted()).logits
            assert logits is not None
            answers.append(logits)
        return Features(logits=torch.cat(answers).index_select(0, moved["place"]))

    def _passes(self, tokens_B: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
        """Of rows of so many tokens: each pass's length, and its row numbers, the first repeated where rows are few."""
        rounded_B = (tokens_B + MULTIPLE - 1) // MULTIPLE * MULTIPLE
        lengths_B = np.minimum(rounded_B, self.model.config.max_position_embeddings)
        lengths, rows = [], []
        for length in np.unique(lengths_B).tolist():
            alike = np.flatnonzero(lengths_B == length)
            for start in range(0, len(alike), self.rows):
                own = alike[start : start + self.rows]
                lengths.append(length)
                rows.append(np.pad(own, (0, self.rows - len(own)), constant_values=own[0]))
        return lengths, rows


def _fitted(tensor_BS: Tensor, length: int) -> Tensor:
    """With columns of padding cut off or added: (B, length)."""
    return pad(tensor_BS[:, :length], (0, max(length - tensor_BS.shape[1], 0)))
