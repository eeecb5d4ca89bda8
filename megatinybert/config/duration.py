"""Lengths of time as people write them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
TIME_LIMIT = (
    "time after which the run saves and ends, to be continued, such as 3h30m, or seconds; counted from its start"
)


def duration_seconds(text: str) -> float:
    """Seconds of "3h30m", "90m", "1d12h", "45s" or a number of seconds. Raises ValueError for others."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no length of time; write 3h30m, 90m or 1d12h, or a number of seconds")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _checked(value: object) -> object:
    text = str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    if isinstance(text, str) and duration_seconds(text) == 0:
        raise ValueError("must be above 0")
    return text


Duration = Annotated[str, BeforeValidator(_checked)]
