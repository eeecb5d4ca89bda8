"""Stand-ins for collectives of torch.distributed."""

from __future__ import annotations


def all_say_the_same(said: list[object], own: object) -> None:
    """In place of a collective, for ranks that are only said to be there."""
    said[:] = [own] * len(said)
