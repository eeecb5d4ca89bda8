"""Whether this process had to wait for a core: times that were measured meanwhile are not to be relied on.

Neither repeated measurements nor the load average tell it: runs that take twice as long by the share of a core that is
left to them are alike to 3 %, and the load counts this process and, in a container, those outside of it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_MUCH = 0.1  # of the time
_TASKS = Path("/proc/self/task")


class Waiting:
    """Counts from its making on."""

    def __init__(self) -> None:
        self._ran, self._waited = _so_far()

    def share(self) -> float:
        """Of the time in which a thread of this process could have run, the part in which it waited for a core.

        0 where the system does not tell it, as only Linux does.
        """
        ran, waited = _so_far()
        waited = max(waited - self._waited, 0)
        return waited / max(ran - self._ran + waited, 1)


def much(share: float) -> bool:
    """Whether times say little that were measured with such a share of waiting."""
    return share >= _MUCH


def on_times(share: float) -> list[str]:
    """A sentence on times that were measured with such a share of waiting; [] of times that can be relied on."""
    if not much(share):
        return []
    return [
        f"The cores were busy, and these runs waited for one {100 * share:.0f} % of the time: "
        "do not rely on the times or their ratios."
    ]


def _so_far() -> tuple[int, int]:
    """(nanoseconds on a core, nanoseconds of waiting for one) of the threads of this process."""
    ran = waited = 0
    for file in _TASKS.glob("*/schedstat"):
        with suppress(OSError, ValueError):  # of a thread that has just ended
            on_core, in_queue, _ = map(int, file.read_text().split())
            ran, waited = ran + on_core, waited + in_queue
    return ran, waited
