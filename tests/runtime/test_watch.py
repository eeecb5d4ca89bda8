"""Which rank is lost, by the signs that ranks give: look by look, and with real ranks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from megatinybert.runtime import watch
from megatinybert.runtime.rendezvous import LOST
from megatinybert.runtime.watch import Heard, Judge, Sign, Verdict
from tests.helpers.processes import GENERAL, exit_codes, start_ranks, wait_until
from tests.helpers.toys import metrics, recipe

HOSTS = ["node-1", "node-1", "node-2"]
MINUTE = 120  # looks


def looks(
    count: int, silent: Sequence[int] = (), short: bool = True, begun: Sequence[int] = (1, 1, 1), trouble: str = ""
) -> list[Heard]:
    """What rank 0 hears in so many looks, after ten in which all were well."""
    return [
        Heard(
            look + 1,
            trouble if look >= 10 else "",
            None,
            {
                rank: Sign(10 if rank in silent and look >= 10 else look + 1, begun[rank], short)
                for rank in range(len(HOSTS))
            },
        )
        for look in range(10 + count)
    ]


def verdict(heard: Sequence[Heard]) -> Verdict | None:
    """Of a judge who looks at all of these, at the last of them; before it there was none."""
    judge = Judge(HOSTS)
    found = [judge.look(each, each.signs[0].short) for each in heard]
    assert not any(found[:-1])
    return found[-1]


def test_a_silent_rank_is_lost_after_a_minute_in_training() -> None:
    assert verdict(looks(MINUTE - 1, silent=[2])) is None
    lost = verdict(looks(MINUTE, silent=[2]))
    assert lost == Verdict([2], "rank 2 (node-2) has ended or does not answer: no sign of life for 60 s")


def test_the_time_in_training_can_be_set() -> None:
    judge = Judge(HOSTS)
    judge.short = 10
    found = [judge.look(each, True) for each in looks(10, silent=[2])]
    assert found[:-1] == [None] * 19 and found[-1] and found[-1].text.endswith("no sign of life for 5 s")


def test_elsewhere_it_is_lost_after_ten() -> None:
    assert verdict(looks(10 * MINUTE - 1, silent=[1, 2], short=False)) is None
    lost = verdict(looks(10 * MINUTE, silent=[1, 2], short=False))
    assert lost == Verdict([1, 2], "ranks 1, 2 (node-1, node-2) have ended or do not answer: no sign of life for 600 s")


def test_where_a_collective_has_failed_it_is_known_within_seconds() -> None:
    assert verdict(looks(6, silent=[2], short=False, trouble="broken")) == Verdict(
        [2], "rank 2 (node-2) has ended or does not answer"
    )
    found = verdict(looks(20, trouble="broken", begun=[3, 2, 3]))
    assert found == Verdict(
        [],
        "the connection between ranks broke, though all of them give signs of life: broken; the others wait for rank 1 "
        "(node-1)",
    )


def test_a_store_that_does_not_answer_is_rank_0() -> None:
    heard = looks(1)
    assert verdict([*heard, *[heard[-1]] * MINUTE]) == Verdict(
        [0], "rank 0 (node-1) has ended or does not answer: no sign of life for 60 s"
    )


def test_a_rank_that_is_cut_off_goes_by_its_own_state() -> None:
    """The last that it heard is of before the training."""
    judge, heard = Judge(HOSTS), looks(1, short=False)[-1]
    found = [judge.look(heard, True) for _ in range(MINUTE + 1)]
    assert not any(found[:-1]) and found[-1] is not None and found[-1].ranks == [0]
    judge = Judge(HOSTS)
    assert not any(judge.look(heard, False) for _ in range(MINUTE + 1))


def test_a_rank_that_has_ended_as_it_should_is_not_missed() -> None:
    ended = [
        Heard(each.round, signs={**each.signs, 2: Sign(-1, 1, False)}, trouble="", verdict=None)
        for each in looks(11 * MINUTE)
    ]
    assert verdict(ended) is None


def test_a_rank_that_the_others_wait_for_is_lost_though_it_is_alive() -> None:
    assert verdict(looks(MINUTE - 10, begun=[8, 8, 7])) is None
    assert verdict(looks(MINUTE - 9, begun=[8, 8, 7])) == Verdict(
        [2], "the ranks are alive, but have not got on for 60 s; the others wait for rank 2 (node-2)"
    )
    assert verdict(looks(2 * MINUTE, begun=[7, 7, 7])) is None  # nobody knows for whom
    assert verdict(looks(2 * MINUTE, begun=[8, 8, 7], short=False)) is None


def test_a_silent_rank_that_the_others_wait_for_is_not_said_to_be_alive() -> None:
    """Its silence and the standstill begin within a look of each other, in either order."""
    lost = verdict(looks(MINUTE, silent=[2], begun=[2, 2, 1]))
    assert lost == Verdict([2], "rank 2 (node-2) has ended or does not answer: no sign of life for 60 s")


def test_ranks_that_were_always_slow_get_ten_times_as_long() -> None:
    """Micro batches of 25 s; then one of them is waited for."""
    slow = [Heard(look, signs={rank: Sign(look, look // 50, True) for rank in range(3)}) for look in range(500)]
    held = [
        Heard(look, signs={rank: Sign(look, 10 + (rank < 2), True) for rank in range(3)}) for look in range(500, 1100)
    ]
    judge = Judge(HOSTS)
    found = [judge.look(each, each.signs[0].short) for each in [*slow, *held]]
    [first] = [number for number, each in enumerate(found) if each][:1]
    assert first == 500 + 10 * 49


def test_a_verdict_of_another_rank_is_taken_over() -> None:
    heard = Heard(1, verdict=Verdict([2], "rank 2 is gone"))
    assert Judge(HOSTS).look(heard, False) == Verdict([2], "rank 2 is gone")


def test_looks_add_up_to_what_the_documentation_says() -> None:
    assert (watch._SHORT * watch.INTERVAL, watch._LONGER) == (60, 10)


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "number"), [(1, signal.SIGSTOP), (0, signal.SIGSTOP), (1, signal.SIGKILL)])
def test_the_other_rank_names_one_that_is_frozen_or_killed(
    lost: int, number: signal.Signals, toy_inputs: Path, tmp_path: Path
) -> None:
    options = recipe(toy_inputs, **{"run.output_dir": tmp_path / "run", "run.max_steps": 100_000})
    options += ["--run.save_interval", "100000", "--run.held_out_interval", "100000", "--run.lost_after", "10s"]
    ranks = start_ranks(2, GENERAL, options, tmp_path)
    try:
        metrics_file = tmp_path / "run" / "metrics.jsonl"
        wait_until(lambda: metrics_file.exists() and len(metrics(tmp_path / "run")) > 5, ranks)
        time.sleep(4 * watch.INTERVAL)  # until both have said that they train; before that, ten times as long counts
        began = time.monotonic()
        os.kill(ranks[lost].pid, number)
        assert exit_codes([ranks[1 - lost]], seconds=60) == [LOST]
        seconds = time.monotonic() - began
    finally:
        ranks[lost].kill()
        ranks[lost].wait()
    print(f"rank {lost}, {number.name}: ended after {seconds:.1f} s")
    log = (tmp_path / f"rank-{1 - lost}.log").read_text()
    told = [line for line in log.splitlines() if line.startswith("error")]
    assert len(told) == 1 and f"rank {lost} (" in told[0] and "the same command continues the run" in told[0], log
    assert "Traceback" not in log and "frame #" not in log
    assert seconds < 10 + 15
