"""Whether the Hugging Face hub can be reached, asked once: its libraries would try for a minute for each file."""

from __future__ import annotations

import os
import shlex
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from megatinybert.config.missing import is_path

OFFLINE = "HF_HUB_OFFLINE"
UNREACHABLE = "MEGATINYBERT_HUB_UNREACHABLE"  # why, where we have set OFFLINE, and not the user
_SECONDS = 5.0
MIRROR = "https://hf-mirror.com"  # as in README.md


class NotInCache(ValueError):
    """Models that are neither folders here nor in the hub's cache, where the hub is not asked."""


def settle_hub(names: Mapping[str, str | None]) -> None:
    """Where a name is no path here and the hub cannot be reached, set HF_HUB_OFFLINE=1 and say so on stderr. names: by
    the option that has it, or another word for what it is of.

    Why it cannot is kept in MEGATINYBERT_HUB_UNREACHABLE, for `advice`.

    Called before anything that reads that variable is imported. The processes that this one starts inherit it. Raises
    NotInCache for names that the hub would have to be asked for.
    """
    # Of a path that is not there whoever opens it tells.
    asked = {option: name for option, name in names.items() if name and not is_path(name)}
    if not asked:
        return
    if not os.environ.get(OFFLINE):
        print(
            f"asking the Hugging Face hub for {', '.join(dict.fromkeys(asked.values()))}", file=sys.stderr, flush=True
        )
        reason = _unreachable(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
        if reason:
            os.environ |= {OFFLINE: "1", UNREACHABLE: reason}
            text = f"the hub cannot be reached ({reason}): only its cache on this machine is read"
            print(text, file=sys.stderr, flush=True)
    if _is_offline():
        from huggingface_hub.constants import HF_HUB_CACHE  # not before the variable is set

        def is_cached(name: str) -> bool:
            return os.path.isdir(os.path.join(HF_HUB_CACHE, f"models--{name.replace('/', '--')}"))

        lacking = {option: name for option, name in asked.items() if not is_cached(name)}
        if lacking:
            named = ", ".join(f"{option} {name}" for option, name in lacking.items())
            advised = advice(*lacking.values())
            raise NotInCache(f"{named}: no such folder here, nor in {HF_HUB_CACHE}{advised}")


def advice(*names: str) -> str:
    """What to do about models that are neither folders nor in the cache; "" where the hub was asked."""
    if not _is_offline():
        return ""
    if reason := os.environ.get(UNREACHABLE):
        endpoint = os.environ.get("HF_ENDPOINT")
        mirror = f"another HF_ENDPOINT than {endpoint}" if endpoint else f"a mirror (export HF_ENDPOINT={MIRROR})"
        why, remedy = f"could not be reached ({reason})", f"name {mirror}"
    else:
        why, remedy = f"is not asked ({OFFLINE}=1)", f"unset {OFFLINE}"
    folders = {name: f"data/{Path(name).name}" for name in names}
    commands = [shlex.join(["hf", "download", name, "--local-dir", folder]) for name, folder in folders.items()]
    return (
        f"; the hub {why}\n  {remedy}, or on a machine with a network run {' and '.join(commands)}, copy "
        f"{' and '.join(folders.values())} here, and name {'them' if len(folders) > 1 else 'it'} instead (README.md, "
        '"Your own text")'
    )


def reason_of(error: Exception) -> str:
    """The first line of what a library of the hub's says of a model; where the hub is not asked, nothing of a failure
    to connect.
    """
    said = first_line(error)
    return "it is not in the hub's cache" if _is_offline() and said.startswith("We couldn't connect") else said


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_offline() -> bool:
    return os.environ.get(OFFLINE, "").upper() in ("1", "ON", "YES", "TRUE")


def _unreachable(endpoint: str) -> str:
    """Why nothing answers there, through the proxies of the environment; "" where something does."""
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""  # an answer
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        # The libraries have certificates of their own.
        return "" if isinstance(cause, ssl.SSLError) else str(cause)
