"""Options of earlier versions.

Recipes and command lines that give just this value still work, and so do checkpoints that recorded it.
"""

from __future__ import annotations

from typing import NamedTuple


class Fixed(NamedTuple):
    value: object
    reason: str

    def agrees(self, given: object) -> bool:
        """Whether a user's `given`, text on a command line, asks for nothing else; null asks for nothing."""
        return given is None or str(given) == str(self.value)


REMOVED = {
    "data.shuffle_group": Fixed(
        64, "--data.shuffle_block alone sets how many windows are mixed together: those of 64 blocks"
    ),
}
