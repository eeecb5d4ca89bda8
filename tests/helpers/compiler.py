"""The mark of tests that run torch.compile."""

from __future__ import annotations

import pytest
import torch

from megatinybert.models.compiled import compiler_problem

needs_compiler = pytest.mark.skipif(
    compiler_problem(1, torch.device("cpu")) is not None, reason="needs a C++ compiler, as torch.compile does on a CPU"
)
