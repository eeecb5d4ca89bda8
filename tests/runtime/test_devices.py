"""How ranks of one machine share it."""

from __future__ import annotations

import os

import pytest
import torch

from megatinybert.runtime.devices import choose_accelerator, share_threads


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


def test_a_rank_sees_the_gpus_that_its_person_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEGATINYBERT_DEVICES", "GPU-11aa,GPU-22bb")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")  # as the launcher counts
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    choose_accelerator()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-11aa,GPU-22bb"
    monkeypatch.delenv("DS_ACCELERATOR")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"no GPU for its rank 2, but 2 in all .*GPU-11aa,GPU-22bb"):
        choose_accelerator()
