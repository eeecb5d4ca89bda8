"""A fine-tuned teacher whose answer to a row does not depend on the batch that the row comes in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from megatinybert.models.capture import Features, Wanted, padding_mask, run_captured
from megatinybert.models.load import Teacher

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
        places, answers = [], []
        lengths_B = self._lengths(real_BS)
        for length in lengths_B.unique().tolist():
            for own in (lengths_B == length).nonzero().flatten().split(self.rows):
                filled = torch.cat([own, own[:1].expand(self.rows - len(own))])
                of_pass = {name: _fitted(tensor_BS[filled], length) for name, tensor_BS in inputs.items()}
                logits = run_captured(self.model, of_pass, Wanted()).logits
                assert logits is not None
                places.append(own)
                answers.append(logits[: len(own)])
        return Features(logits=torch.cat(answers)[torch.cat(places).argsort()])

    def _lengths(self, real_BS: Tensor) -> Tensor:
        """Of each row, as it is padded: int64 (B,)."""
        rounded_B = (real_BS.sum(dim=1) + MULTIPLE - 1) // MULTIPLE * MULTIPLE
        return rounded_B.clamp(max=self.model.config.max_position_embeddings)


def _fitted(tensor_BS: Tensor, length: int) -> Tensor:
    """With columns of padding cut off or added: (B, length)."""
    return pad(tensor_BS[:, :length], (0, max(length - tensor_BS.shape[1], 0)))
