"""A Python for processes whose tests are not about how they start: tests/scripts/warm.py.

What only a real start shows is proved by tests/repository/test_launch_forms.py, test_quickstart.py, the golden run, and
all tests that kill what they started.
"""

from __future__ import annotations

import atexit
import functools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.toys import REPOSITORY, environment

SCRIPT = str(REPOSITORY / "tests" / "scripts" / "warm.py")


@functools.cache
def warm_python() -> list[str]:
    """What stands for `python` at the front of a command; the server behind it lives as long as this process."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    path = Path(folder.name) / "socket"
    # Torch reads the log level once; every program of ours sets it so.
    variables = environment(PYTHONPATH="", TORCH_CPP_LOG_LEVEL="ERROR")
    server = subprocess.Popen(
        [sys.executable, SCRIPT, "--serve", str(path)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for the tests, whose end ends it
    )

    def end() -> None:
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    until = time.monotonic() + 300
    while not path.exists():
        assert server.poll() is None and time.monotonic() < until, "the server of tests/scripts/warm.py did not start"
        time.sleep(0.05)
    return [sys.executable, "-S", SCRIPT, str(path)]
