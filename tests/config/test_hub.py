"""A hub that cannot be reached is found out once and soon, and told with what to do."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatinybert.config.hub import OFFLINE, UNREACHABLE, NotInCache, advice, settle_hub
from megatinybert.models.configuration import read_bert_config

NAME = "owner/no-such-model"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, "")  # so that they are put back, too
    monkeypatch.setenv(UNREACHABLE, "")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[str]:
    """The address of something that answers, though not as a hub."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid"])
def test_without_an_answer_nobody_asks_again(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    began = time.monotonic()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refused = (
        rf"^--teacher.model {NAME}, --teacher.tokenizer {NAME}: no such folder here, nor in {tmp_path}; the hub "
        r"could not be reached \(.*\): .* name its folder"
    )
    with pytest.raises(NotInCache, match=refused):
        settle_hub({"--teacher.model": NAME, "--student.init": None, "--teacher.tokenizer": NAME})
    assert OFFLINE not in advice()  # which the user has not set
    (tmp_path / "models--owner--no-such-model").mkdir()
    settle_hub({"--teacher.model": NAME})  # is read from the cache
    assert time.monotonic() - began < 30 and os.environ[OFFLINE] == "1"
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"asking the Hugging Face hub for {NAME}"
    assert second.startswith("the hub cannot be reached (") and second.endswith(
        "): only its cache on this machine is read"
    )


def test_with_an_answer_or_a_folder_nothing_changes(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    settle_hub({"--teacher.model": NAME})
    assert not os.environ[OFFLINE] and advice() == ""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    capsys.readouterr()
    settle_hub({"--teacher.model": str(tmp_path), "--student.init": None})
    assert not os.environ[OFFLINE] and capsys.readouterr().err == ""


def test_a_name_that_no_folder_of_the_cache_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(NotInCache, match="^--teacher.model x{5000}: no such folder here"):
        settle_hub({"--teacher.model": "x" * 5000})


def test_the_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for reason, said in (
        ("", r"is not asked \(HF_HUB_OFFLINE=1\)"),
        ("no route", r"could not be reached \(no route\)"),
    ):
        monkeypatch.setenv(UNREACHABLE, reason)
        with pytest.raises(
            ValueError, match=rf"--teacher\.model {NAME}: .*; the hub {said}: .*name its folder"
        ) as caught:
            read_bert_config(NAME, "--teacher.model")
        assert "connect" not in str(caught.value) and "it is not in the hub's cache" in str(caught.value)
