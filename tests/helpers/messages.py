"""What messages to people say."""

from __future__ import annotations


def assert_says(message: str, *texts: object) -> None:
    for text in texts:
        assert str(text) in message, message
