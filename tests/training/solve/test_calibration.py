"""How many tokens a student is solved on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from megatinybert.config.schema import StudentConfig
from megatinybert.runtime.dist import World
from megatinybert.training.solve.calibration import CUT, ROWS, Calibration


@dataclass
class Windows:
    """Rows of 128 tokens. padding: of every second row."""

    samples: int = 10_000
    padding: int = 0

    def batch(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        ids_BS = np.zeros((len(positions), 128), dtype=np.int64)
        if not self.padding:
            return {"input_ids": ids_BS}
        lengths_B = 128 - self.padding * (positions % 2)
        return {"input_ids": ids_BS, "attention_mask": (np.arange(128) < lengths_B[:, None]).astype(np.int64)}


@pytest.mark.parametrize(("asked", "planned"), [(2_048, 3_584), (3_584, 3_840), (32_768, 34_304)])
def test_whole_batches_hold_the_tokens_that_are_asked_for_or_more(world: World, asked: int, planned: int) -> None:
    assert Calibration(Windows(), asked, 128, ROWS, world, CUT).tokens() == planned
    few = Windows(samples=ROWS)
    assert Calibration(few, asked, 128, ROWS, world, CUT).tokens() == ROWS * 128  # as far as there is text


def test_another_number_than_was_asked_for_is_explained(world: World) -> None:
    assert (
        Calibration(Windows(), 2_048, 128, ROWS, world, CUT).in_words()
        == "3,584 tokens (2,048 asked for, in whole batches)"
    )
    assert (
        Calibration(Windows(), 3_584, 128, ROWS, world).in_words() == "4,096 tokens (3,584 asked for, in whole batches)"
    )
    assert Calibration(Windows(), 4_096, 128, ROWS, world).in_words() == "4,096 tokens"
    few = Calibration(Windows(samples=ROWS), 4_096, 128, ROWS, world)
    assert few.in_words() == "2,048 tokens (of 4,096: there is no more text)"


def test_neither_padding_nor_rows_that_are_not_there_are_counted(world: World) -> None:
    assert Calibration(Windows(padding=28), 2 * ROWS * 114, 114, ROWS, world).tokens() == 2 * ROWS * 114
    assert Calibration(Windows(samples=3), 2_048, 128, ROWS, world).tokens() == 3 * 128


def test_the_option_says_so(world: World) -> None:
    planned = Calibration(Windows(), 2048, 128, ROWS, world, CUT).tokens()
    said = StudentConfig.model_fields["solve_tokens"].description or ""
    assert f"whole batches of {ROWS} rows (2048 are {planned} of windows of 128)" in said
