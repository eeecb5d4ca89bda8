"""The little cluster that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.cluster import Cluster, missing, own_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes, removed at the end, however it comes.

    Skips where this machine cannot have one, and says what it lacks.
    """
    lacking = missing()
    if lacking:
        pytest.skip(f"no little cluster here; missing: {lacking}")
    with own_cluster(tmp_path_factory.mktemp("cluster"), size=4) as made:
        yield made


@pytest.fixture(autouse=True)
def _all_nodes_idle(cluster: Cluster) -> Iterator[None]:
    """No test leaves anything to the next."""
    yield
    cluster.left_behind(seconds=0)


@pytest.fixture(scope="session")
def alone(cluster: Cluster, toy_inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run by one rank on one node."""
    from tests.helpers.cluster import PYTHON_GENERAL, options
    from tests.helpers.processes import exit_codes

    folder = tmp_path_factory.mktemp("alone")
    process = cluster.start(1, [*PYTHON_GENERAL, *options(toy_inputs, folder)], folder / "log")
    assert exit_codes([process]) == [0], (folder / "log").read_text()
    return folder / "run"
