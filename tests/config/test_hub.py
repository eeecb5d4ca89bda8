"""A hub that cannot be reached is found out once and soon, and told with what to do."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatinybert.config.general import GENERAL
from megatinybert.config.hub import MIRROR, OFFLINE, UNREACHABLE, NotInCache, advice, settle_hub
from megatinybert.config.load import load_options
from megatinybert.config.named_paths import hub_names
from megatinybert.config.program import Program
from megatinybert.config.task import TASK
from megatinybert.models.configuration import read_bert_config
from tests.helpers.messages import assert_says
from tests.helpers.toys import REPOSITORY

NAME = "owner/no-such-model"
OF_ANY = ["teacher.model", "teacher.tokenizer", "student.config", "student.init"]


def refusal(names: dict[str, str | None]) -> str:
    with pytest.raises(NotInCache) as caught:
        settle_hub(names)
    return str(caught.value)


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
        rf"could not be reached \(.*\)\n  name another HF_ENDPOINT than {endpoint}, or .* run hf download {NAME} "
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
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    download = f"hf download {NAME} --local-dir data/no-such-model, copy data/no-such-model here, and name it instead"
    for reason, said in (
        ("", "is not asked (HF_HUB_OFFLINE=1)\n  unset HF_HUB_OFFLINE, or "),
        (
            "no route",
            "could not be reached (no route)\n  name a mirror (export HF_ENDPOINT=https://hf-mirror.com), or ",
        ),
    ):
        monkeypatch.setenv(UNREACHABLE, reason)
        with pytest.raises(ValueError) as caught:
            read_bert_config(NAME, "--teacher.model")
        early = refusal({"--teacher.model": NAME})
        for message in (str(caught.value), early):
            assert message.startswith(f"--teacher.model {NAME}: ")
            assert f"; the hub {said}" in message and download in message
        assert "connect" not in str(caught.value) and "it is not in the hub's cache" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "required", "options"),
    [
        (GENERAL, ["--data.text", "a.txt"], OF_ANY),
        (TASK, ["--task.name", "rte", "--task.data_dir", "d"], [*OF_ANY, "augment.model", "predict.model"]),
    ],
)
def test_every_option_that_may_name_a_model_of_the_hub(
    program: Program, required: list[str], options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    names = {f"--{option}": f"owner/{option}" for option in options}
    config = load_options([*required, *(word for pair in names.items() for word in pair)], program)
    message = refusal(hub_names(config))
    for option, name in names.items():
        assert_says(message, f"{option} {name}", f"hf download {name} --local-dir data/{name.removeprefix('owner/')}")
    assert "and name them instead" in message


def test_the_readmes_name_the_same_mirror_and_command() -> None:
    for name in ("README.md", "README.zh.md"):
        page = " ".join((REPOSITORY / name).read_text(encoding="utf-8").split())
        assert_says(page, f"export HF_ENDPOINT={MIRROR}", "hf download ", " --local-dir data/teacher")
