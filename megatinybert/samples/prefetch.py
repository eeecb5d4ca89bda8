"""Prepares the next micro batch in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items in the same order, each made by a thread while the caller is at the one before.

    Raises what `items` raises, where it would have come without the thread. No item is made before the first is asked
    for, and only one more than were taken.
    """
    end = object()
    with ThreadPoolExecutor(1, "one-ahead") as pool:
        following: Future[T | object] = pool.submit(next, items, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, items, end)
            yield item  # type: ignore[misc]
