"""Work by Ray: the bytes of a local build, also where a worker or everything is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from megatinybert.corpus.sources import DataError
from megatinybert.runtime import ray_workers
from megatinybert.runtime.ray_workers import in_order_by_ray, ray_cluster
from tests.helpers.texts import as_text, contents, documents, start, wait_for_progress
from tests.helpers.toys import REPOSITORY

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason=f"Ray is not installed: {ray_workers.INSTALL}")
MINUTES = 300.0  # on a busy machine Ray takes one to start


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--ray auto: Ray is not installed: pip install ray==\d"):
        ray_cluster("auto", 2, "--ray", "--workers").__enter__()


def doubling(fails_at: int, killed_at: int, killed: Path | None = None, ballast: bytes = b"") -> Callable[[int], int]:
    """killed: says that a worker was killed once, which is enough."""
    if fails_at < 0:
        raise DataError("of the start")

    def work(task: int) -> int:
        if task == fails_at:
            raise DataError(f"task {task}")
        if task == killed_at and not (killed and killed.exists()):
            if killed:
                killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * task

    return work


@needs_ray
def test_order_and_errors(tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # for workers to find `doubling`
    with ray_cluster("local", 2, "--ray", "--workers") as workers:
        assert workers == 2
        done = in_order_by_ray(partial(doubling, 99, 99), range(30), workers, "--workers")
        assert list(done) == [(task, 2 * task) for task in range(30)]
        for fails_at, message in ((7, "^task 7$"), (-1, "^of the start$")):
            with pytest.raises(DataError, match=message):
                list(in_order_by_ray(partial(doubling, fails_at, 99), range(30), workers, "--workers"))
        # What a worker is made with is larger than what Ray keeps with the worker, as a real tokenizer is.
        once = partial(doubling, 99, 3, tmp_path / "killed", bytes(1_000_000))
        done = in_order_by_ray(once, range(30), workers, "--workers")
        assert list(done) == [(task, 2 * task) for task in range(30)] and (tmp_path / "killed").exists()
        with pytest.raises(RuntimeError, match="use fewer --workers"):
            list(in_order_by_ray(partial(doubling, 99, 3), range(30), workers, "--workers"))

    text = tmp_path / "a.txt"
    text.write_text(as_text(documents(20)))
    options = BuildOptions(input=[str(text)], tokenizer=str(tokenizer), output=tmp_path / "out", ray="local", workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "resolve", lambda path: path / "elsewhere")  # as if the workers were on another machine
        with pytest.raises(ValueError, match=r"elsewhere is not on the machine .*put --input and --output on a file"):
            build_corpus(options)


@needs_ray
def test_a_killed_worker_and_a_killed_build_change_no_byte(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "a.txt").write_text(as_text(documents(1500, 1)))
    options: dict[str, object] = {
        "input": [str(tmp_path / "a.txt")],
        "tokenizer": str(tokenizer),
        "block_bytes": 3000,
        "validation_fraction": 0.1,
        "shard_tokens": 40_000,
        "commit_seconds": 0.0,
        "workers": 2,
    }
    local = start({**options, "output": str(tmp_path / "local")})
    by_ray = {**options, "output": str(tmp_path / "ray"), "ray": "local"}
    process = start(by_ray)
    blocks = wait_for_progress(process, tmp_path / "ray", 5, MINUTES)
    family = psutil.Process(process.pid).children(recursive=True)
    workers = [member for member in family if "ray::_Worker" in " ".join(member.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    wait_for_progress(process, tmp_path / "ray", blocks + 20, MINUTES)  # beyond what was under way
    process.kill()
    process.communicate()
    assert not (tmp_path / "ray" / "manifest.json").exists(), "it was killed half-way"
    assert not psutil.wait_procs(family, timeout=MINUTES)[1], "all of Ray ends with the build"
    resumed = start({**by_ray, "resume": True})
    assert resumed.wait() == 0 and local.wait() == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
