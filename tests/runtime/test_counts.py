"""One of a kind is named in the singular."""

from __future__ import annotations

from megatinybert.runtime.counts import counted


def test_singular_and_plural() -> None:
    assert [counted(number, "minute") for number in (0, 1, 2, 2000)] == [
        *("0 minutes", "1 minute", "2 minutes", "2,000 minutes")
    ]
    assert counted(1, "pass", "passes") == "1 pass" and counted(3, "pass", "passes") == "3 passes"
