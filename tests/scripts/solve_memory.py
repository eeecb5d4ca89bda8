"""Solve a toy student on so many tokens, with room for 8 MiB of states, and print the peak of this process's memory.

PYTHONPATH=. python tests/scripts/solve_memory.py TOKENS
"""

from __future__ import annotations

import resource
import sys

import numpy as np
import torch
from transformers import BertModel

from megatinybert.models.capture import ATTENTION_NAME
from megatinybert.models.load import build_student
from megatinybert.runtime.dist import World
from megatinybert.training.solve import calibration as calibration_module
from megatinybert.training.solve.calibration import Calibration
from megatinybert.training.solve.student import solve_student
from tests.helpers.toys import VOCABULARY, bert_config

LENGTH, ROWS = 64, 64


class Windows:
    """Random tokens."""

    samples = 1 << 20

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        shape = len(positions), LENGTH
        ids = np.random.default_rng(int(positions[0])).integers(5, len(VOCABULARY), shape)
        return {"input_ids": ids, "token_type_ids": np.zeros(shape, dtype=np.int64)}


def main() -> None:
    torch.set_num_threads(1)
    calibration_module._CACHED_BYTES = 8 << 20
    world = World(0, 1, torch.device("cpu"))
    config = bert_config(max_position_embeddings=LENGTH)
    config._attn_implementation = ATTENTION_NAME
    source = BertModel(config, add_pooling_layer=False).eval()
    student = build_student(bert_config(2, 12, 4, max_position_embeddings=LENGTH))
    calibration = Calibration(Windows(), int(sys.argv[1]), LENGTH, ROWS, world)
    solution = solve_student(student, source, [1, 3], calibration, 0, world)
    print(solution.tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()
