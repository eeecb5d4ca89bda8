"""What is said of a teacher's signals, worked by hand."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig

from megatinybert.config.load import ConfigError, load_config
from megatinybert.training.fits import check_embeddings, on_kept_signals


def test_signals_of_layers_are_larger_than_what_a_pass_saves() -> None:
    """BERT-base: 37 tensors of 128 x 768 x 2 bytes a window; 12 x (14.2 + 0.4) million operations a token."""
    said = on_kept_signals(BertConfig(), 12, 1_000_000, 128)
    assert said.level == "ok"
    assert "are 7.27 MB a window in 16 bits, 7.27 TB in all" in said.text
    assert said.text.endswith("where the teacher runs at more than 3.1 TFLOP/s")  # 22.3e9 / 7.27e-3 s


def test_the_option_of_tasks_is_explained() -> None:
    said = r"--data.teacher_cache always .*: no such option here; .*--two.teacher_cache keeps"
    with pytest.raises(ConfigError, match=said):
        load_config(["--teacher.model", "org/t", "--data.shards", "s/d", "--data.teacher_cache", "always"])


def test_rows_far_down_that_are_not_finite_are_named() -> None:
    words = torch.zeros(9000, 2)
    words[4096, 1], words[8999, 0] = torch.nan, torch.inf
    with pytest.raises(ValueError, match="its embeddings of token 4096, 8999 are not finite"):
        check_embeddings(words, "org/t")
