"""Signs of life of all ranks, so that none waits for one that has died, is frozen or cannot be reached.

A collective that waits for such a rank ends by itself only where its connection breaks, or after `dist.TIMEOUT`. Here
each rank gives a sign twice a second, in the store where they met; rank 0 looks at all of them and the others at rank
0's. Where one is missing for long, all ranks that are left end, by exit code `rendezvous.LOST`, and say which it was.
What is counted are the looks: a run that is paused as a whole is no older when it goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch.distributed import PrefixStore, Store

from megatinybert.runtime.meeting import name_ranks
from megatinybert.runtime.rendezvous import LOST

INTERVAL = 0.5  # seconds between signs, and between looks
_SHORT = 120  # looks without a sign, in training, where collectives are short
_LONGER = 10  # times that many at start, in saves and such
_SLOWER = 10  # times the longest that the ranks ever took in training, after which they are taken to be stuck
_BROKEN = 6  # looks without a sign that are enough once a collective has failed
_UNEXPLAINED = 20  # looks after that which find every rank alive
_TO_READ = 4  # looks in which the other ranks read the verdict, before rank 0 ends and its store with it


class Sign(NamedTuple):
    """beats: signs given so far; -1: the rank has ended as it should. micro_batches: begun. short: see `Watch`."""

    beats: int
    micro_batches: int
    short: bool


class Verdict(NamedTuple):
    """ranks: without which the run cannot go on; none where a connection broke and all are alive."""

    ranks: list[int]
    text: str


@dataclass(frozen=True)
class Heard:
    """What a rank has read in the store. round: how often it has. trouble: of a failed collective, else "". signs: of
    the ranks that it looks at."""

    round: int = 0
    trouble: str = ""
    verdict: Verdict | None = None
    signs: Mapping[int, Sign] = field(default_factory=dict)


class Judge:
    """Decides, one look after the other, whether a rank is lost. hosts: of all ranks.

    short: looks without a sign, in training.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self.short = _SHORT
        self._hosts, self._before = hosts, Heard()
        self._unheard = self._troubled = self._stuck = self._longest = 0
        self._silent: dict[int, int] = {}

    def look(self, heard: Heard, own_short: bool) -> Verdict | None:
        """heard: as it is now; of an earlier round where the store does not answer. own_short: of this rank's sign."""
        before, self._before = self._before, heard
        news = heard.round != before.round
        self._unheard = 0 if news else self._unheard + 1
        for rank, sign in heard.signs.items() if news else ():
            alive = sign.beats < 0 or rank not in before.signs or sign.beats != before.signs[rank].beats
            self._silent[rank] = 0 if alive else self._silent[rank] + 1
        self._troubled = self._troubled + 1 if heard.trouble else 0
        short = bool(heard.signs) and all(sign.short for sign in heard.signs.values())
        return heard.verdict or self._on_silence(heard, short, own_short) or self._on_standstill(heard, before, short)

    def _on_silence(self, heard: Heard, short: bool, own_short: bool) -> Verdict | None:
        if self._unheard:  # what the others said last may be of before the training
            short = own_short
        limit = _BROKEN if heard.trouble else self.short * (1 if short else _LONGER)
        # The store is rank 0's.
        lost = [0] if self._unheard >= limit else [rank for rank, looks in self._silent.items() if looks >= limit]
        if lost:
            verb = "has ended or does not answer" if len(lost) == 1 else "have ended or do not answer"
            since = "" if heard.trouble else f": no sign of life for {limit * INTERVAL:,.0f} s"
            return Verdict(lost, f"{name_ranks(lost, self._hosts)} {verb}{since}")
        if self._troubled < _UNEXPLAINED:
            return None
        text = f"the connection between ranks broke, though all of them give signs of life: {heard.trouble}"
        return Verdict([], f"{text}{self._behind(heard)[1]}")

    def _on_standstill(self, heard: Heard, before: Heard, short: bool) -> Verdict | None:
        """Of ranks that are alive: where some have begun fewer micro batches than others, which wait for them."""
        begun, earlier = ([sign.micro_batches for sign in each.signs.values()] for each in (heard, before))
        if not short or begun != earlier:
            self._longest, self._stuck = max(self._longest, self._stuck), 0
        else:
            self._stuck += 1
        behind, text = self._behind(heard)
        if not behind or self._stuck < max(self.short, _SLOWER * self._longest):
            return None
        if any(self._silent[rank] > self.short // 2 for rank in behind):
            return None  # it is not alive, as its silence says in a moment
        seconds = self._stuck * INTERVAL
        return Verdict(behind, f"the ranks are alive, but have not got on for {seconds:,.0f} s{text}")

    def _behind(self, heard: Heard) -> tuple[list[int], str]:
        least = min((sign.micro_batches for sign in heard.signs.values()), default=0)
        behind = [rank for rank, sign in heard.signs.items() if sign.micro_batches == least]
        if len(behind) == len(heard.signs):
            return [], ""
        return behind, f"; the others wait for {name_ranks(behind, self._hosts)}"


class Watch:
    """This rank's sign, and its look at those of others, in threads of their own until the process ends."""

    def __init__(self, store: Store, rank: int, hosts: Sequence[str]) -> None:
        """store: where they met; others may use it meanwhile. hosts: of all ranks."""
        self.short = False  # whether the ranks are in training, where no collective waits long for any of them
        self.micro_batches = 0
        self._store = PrefixStore("watch", store.clone())  # type: ignore[attr-defined]
        self._rank, self._hosts, self._judge = rank, hosts, Judge(hosts)
        self._ranks = range(len(hosts)) if rank == 0 else range(1)
        self._heard, self._trouble, self._beats = Heard(), "", 0
        self._verdict: Verdict | None = None
        self._ending = threading.Event()
        if rank == 0:
            self._store.set("trouble", '""')
            self._store.set("verdict", "null")
        # Two, as a store whose rank is frozen never answers. Daemons, as a rank may end while it does not.
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._talk, self._look)]
        for thread in self._threads:
            thread.start()
        atexit.register(self._end)  # no thread may be in C++ when the interpreter ends

    def lose_after(self, seconds: float) -> None:
        """Take a rank for lost after so long without a sign, in training, and ten times as long elsewhere; 60 s unless
        this is called.
        """
        self._judge.short = round(seconds / INTERVAL)

    def explain(self, error: BaseException) -> None:
        """Wait until it is known which rank a collective failed for; this ends the process. error: that it raised.

        It returns where nothing is found out.
        """
        self._trouble = f"{str(error).strip().splitlines()[0]} (rank {self._rank})"
        time.sleep(2 * _UNEXPLAINED * INTERVAL)

    def _talk(self) -> None:
        keys = ["trouble", "verdict", *(f"sign/{rank}" for rank in self._ranks)]
        while True:
            try:
                self._beats += 1
                self._store.set(f"sign/{self._rank}", json.dumps([self._beats, self.micro_batches, self.short]))
                if self._trouble:
                    self._store.set("trouble", json.dumps(self._trouble))
                if self._verdict:
                    self._store.compare_set("verdict", "null", json.dumps(self._verdict))
                trouble, verdict, *signs = (json.loads(value) for value in self._store.multi_get(keys))
                signs_of = {rank: Sign(*sign) for rank, sign in zip(self._ranks, signs, strict=True)}
                self._heard = Heard(self._heard.round + 1, trouble, Verdict(*verdict) if verdict else None, signs_of)
            except RuntimeError:  # as all errors of a store are; that it does not answer is counted
                pass
            if self._ending.wait(INTERVAL):
                return

    def _look(self) -> None:
        while not self._ending.wait(INTERVAL):
            heard = self._heard
            trouble = heard.trouble or self._trouble
            self._verdict = self._judge.look(Heard(heard.round, trouble, heard.verdict, heard.signs), self.short)
            if self._verdict:
                self._leave(self._verdict)

    def _leave(self, verdict: Verdict) -> None:
        """End this process; of each machine, one rank says why."""
        own = self._hosts[self._rank]
        here = (rank for rank, host in enumerate(self._hosts) if host == own and rank not in verdict.ranks)
        if self._rank == next(here, self._rank):
            whose = "" if self._rank == 0 else f" on rank {self._rank} ({own})"
            sys.stdout.flush()
            print(f"\nerror{whose}: {verdict.text}; the same command continues the run", file=sys.stderr, flush=True)
        self._ending.wait(_TO_READ * INTERVAL)
        os._exit(LOST)

    def _end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * INTERVAL)
        if not self._threads[0].is_alive():
            with contextlib.suppress(RuntimeError):  # rank 0 has ended before
                self._store.set(f"sign/{self._rank}", json.dumps([-1, self.micro_batches, False]))
