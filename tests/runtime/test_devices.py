"""How ranks of one machine share its threads."""

from __future__ import annotations

import pytest
import torch

from megatinybert.runtime.devices import share_threads


@pytest.mark.parametrize(
    ("variables", "threads"),
    [({}, 8), ({"LOCAL_SIZE": "2"}, 4), ({"LOCAL_SIZE": "3"}, 2), ({"LOCAL_SIZE": "16"}, 1)],
)
def test_ranks_share_the_threads(variables: dict[str, str], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    for name in ("LOCAL_SIZE", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    share_threads()
    assert set_to == [threads]
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    share_threads()
    assert set_to == [threads]  # as the person says
