"""What the markers of pyproject.toml do, and the runs that several files of tests look at."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import apex_packages, toys
from tests.scripts.golden import golden_options

if TYPE_CHECKING:
    from megatinybert.runtime.dist import World


# They start a run as a user does, most of them by the launcher.
LONGEST = (
    "test_docs.py",
    "test_launch_forms.py",
    "test_quickstart.py",
    "test_restarts.py",
    "test_stage_resume.py",
    "test_cache.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip gpu tests where there is no GPU; -ra in pyproject.toml prints each with its reason.

    The files that take longest come first, so that of two processes neither waits for the other at the end.
    """
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_tests:
        import torch

        if not torch.cuda.is_available():
            for item in gpu_tests:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


@pytest.hookimpl(tryfirst=True)  # before the fixtures of larger scope
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that compute in this process round as a fresh process does (toys.environment), whatever ran before."""
    in_this_process = "world" in getattr(item, "fixturenames", ())
    if in_this_process:
        import torch

        torch.set_num_threads(1)
        _torch_linear()
        _save_of_cards()
    if _save_of_cards.cache_info().currsize:
        sys.modules["megatinybert.training.model_card"].save_picture = (  # type: ignore[attr-defined]
            _save_dot if in_this_process else _save_of_cards()
        )
    if _torch_linear.cache_info().currsize:
        # An engine at ZeRO stage 3 puts a linear layer that rounds otherwise, and knows no quantized weights, in its
        # place, for the whole process.
        sys.modules["torch"].nn.functional.linear = _torch_linear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that ends or replaces this process's group spoils every later one that has an engine: it fails itself."""
    before = _own_group()
    yield
    assert _own_group() is before, f"{item.nodeid} changed this process's group (dist.start, dist.stop)"


def _own_group() -> object:
    distributed = sys.modules.get("torch.distributed")
    return distributed.group.WORLD if distributed and distributed.is_initialized() else None


@functools.cache
def _torch_linear() -> Callable[..., Any]:
    """torch's own, as it is before the first test that has an engine."""
    import torch

    return torch.nn.functional.linear


@functools.cache
def _save_of_cards() -> Callable[..., None]:
    """What draws the loss curves of model cards, as it is before the first test."""
    from megatinybert.training import model_card

    return model_card.save_picture


def _save_dot(picture: object, path: Path) -> None:
    """In place of the loss curves of a run in this process: to draw them takes half of its time, and no test looks at
    them. Those that are looked at come from a process of their own, such as the golden run.
    """
    import numpy as np

    _save_of_cards()(np.zeros((1, 1, 3), np.uint8), path)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with vocab.txt and a tokenizer.json that truncates and pads, as some published do."""
    from tokenizers.implementations import BertWordPieceTokenizer

    from tests.helpers.texts import VOCABULARY

    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    wordpiece = BertWordPieceTokenizer(str(folder / "vocab.txt"))
    wordpiece.enable_truncation(16)
    wordpiece.enable_padding(length=16)
    wordpiece.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder


@pytest.fixture(scope="session")
def toy_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the teacher, student shape and corpus of `toys.recipe`."""
    folder = tmp_path_factory.mktemp("inputs")
    toys.recipe(folder)
    return folder


@pytest.fixture(scope="session")
def golden_run(toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the golden run (see tests/scripts/golden.py), a process of its own. Do not write there."""
    folder = tmp_path_factory.mktemp("golden") / "run"
    done = toys.run_general(golden_options(toy_inputs, folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def pinned_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages as requirements.txt pins them, whichever of the supported versions is installed."""
    from megatinybert.runtime.versions import PACKAGES

    pins = {name: wanted.tested for name, wanted in PACKAGES.items()}
    installed = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: pins.get(name) or installed(name))


@pytest.fixture
def install_apex(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """A function that puts a folder with a stand-in for apex (tests/helpers/apex_packages.py) first on sys.path."""
    before = apex_packages.forget_apex()
    yield lambda folder: monkeypatch.syspath_prepend(str(folder))
    apex_packages.forget_apex()
    sys.modules.update(before)


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """This process as the only rank of a run, for tests that need an engine but no process of their own."""
    import torch

    from megatinybert.runtime import dist

    before, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)  # as in toys.environment, so that sums are rounded alike
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)  # the processes it is compared with see no GPU either
        world = dist.start()
        yield world
    dist.stop()
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def task_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher/, shape/, and the tasks singles/, pairs/, STS-B/, SST-2/ and MNLI/. Do not write there."""
    from tests.helpers import task_toys

    folder = tmp_path_factory.mktemp("task-inputs")
    task_toys.write_shape(folder / "shape", task_toys.write_teacher(folder / "teacher"))
    task_toys.write_singles(folder / "singles")
    task_toys.write_pairs(folder / "pairs")
    task_toys.write_sts_b(folder / "STS-B")
    task_toys.write_sst_2(folder / "SST-2")
    task_toys.write_mnli(folder / "MNLI")
    return folder


@pytest.fixture(scope="session")
def done_task(task_inputs: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of `all` on singles/ by `task_toys.options`. Do not write there."""
    from tests.helpers import task_toys

    output = tmp_path_factory.mktemp("done") / "task"
    task_toys.run("all", task_toys.options(task_inputs, "singles", output), world)
    return output
