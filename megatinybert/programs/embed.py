"""Texts as vectors: the mean of an encoder's last hidden states."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm
from transformers import BertModel
from transformers.utils import logging

from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.models.load import load_encoder, teacher_dtype
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.tasks.reading.read import Row
from megatinybert.tasks.rows import EncodedRows, encode_rows
from megatinybert.training.held_out import mean_pool

LENGTH = 128  # tokens of a text that are read, at most
_BATCH_TOKENS = 4096  # of a forward pass, padding included


@dataclass(frozen=True)
class Embedded:
    """means: by model, float32 (N, D) on the CPU. seconds: to compute them. dtype: of the models."""

    means: list[Tensor]
    seconds: list[float]
    dtype: str

    @property
    def vectors(self) -> list[Tensor]:
        """By model, float32 (N, D), of length 1."""
        return [normalize(means_ND, dim=-1) for means_ND in self.means]


def embed(models: Sequence[str], tokenizer: str, texts: Sequence[str]) -> Embedded:
    """Embed N texts with each of several encoders, folders or hub names that share a tokenizer.

    They run on CUDA where there is one, and in 16 bits where the device computes them natively. Raises ValueError
    where one cannot be loaded.
    """
    logging.set_verbosity_error()  # it tells of the heads that we drop on purpose
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = teacher_dtype("auto", device)
    encoders = [load_encoder(name, name) for name in models]
    length = min(LENGTH, *(encoder.config.max_position_embeddings for encoder in encoders))
    reader = load_tokenizer(tokenizer)
    rows = read_texts(texts, reader, length)
    means, seconds = [], []
    with progress_bar(len(encoders) * len(rows), "text", desc="embedding", leave=False) as bar:
        for encoder in encoders:
            began = time.perf_counter()
            means.append(mean_vectors(encoder.to(device, dtype).eval(), rows, device, bar))  # type: ignore[arg-type]
            seconds.append(time.perf_counter() - began)
    return Embedded(means, seconds, str(dtype).removeprefix("torch."))


def read_texts(texts: Sequence[str], tokenizer: Tokenizer, length: int = LENGTH) -> EncodedRows:
    """length: tokens of a text that are read, at most."""
    rows = (Row(text, None, None) for text in texts)
    return encode_rows(rows, tokenizer, special_ids(tokenizer), length, regression=False)


@torch.inference_mode()
def mean_vectors(encoder: BertModel, rows: EncodedRows, device: torch.device, bar: tqdm) -> Tensor:
    """float32 (N, D) on the CPU. encoder: in eval mode on `device`, its attention that of `capture`."""
    result_ND = torch.empty(len(rows), encoder.config.hidden_size)
    for ids in rows.by_length(_BATCH_TOKENS):
        batch = {name: torch.from_numpy(array).to(device) for name, array in rows.batch(ids).items()}
        states_BSD = encoder(**batch).last_hidden_state
        result_ND[ids] = mean_pool(states_BSD, batch.get("attention_mask")).cpu()
        bar.update(len(ids))
    return result_ND
