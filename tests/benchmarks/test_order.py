"""The simulation of the order finds an order that breaks its promises."""

import numpy as np
import pytest

from benchmarks import order
from megatinybert.samples.order import SampleOrder

SMALL = ["--tokens", "2e6", "--ranks", "8", "6", "--global-batch", "96", "--micro-batch", "2", "--probes", "4000"]


def test_the_promises_hold_on_a_small_corpus() -> None:
    figures = order.simulate(order.parse([*SMALL, "--shuffle-block", "16"]))
    assert figures["broken"] == []
    assert figures["samples"] == 2_000_000 // 126
    assert figures["twice"] == 0 < figures["expected_twice_at_random"]


def test_a_sample_that_comes_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(self: SampleOrder, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epochs, index = np.divmod(positions, self.samples)
        return index // 2, epochs

    monkeypatch.setattr(SampleOrder, "__call__", halved)
    broken = order.simulate(order.parse(SMALL))["broken"]
    assert any("come twice in an epoch" in line for line in broken)


def test_a_batch_that_ranks_cannot_share_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        order.parse(["--ranks", "1024", "1000"])
    assert "--global-batch 49152 is not a multiple of --micro-batch 16 times 1000 ranks" in capsys.readouterr().err
