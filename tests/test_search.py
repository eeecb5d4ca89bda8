"""The search's command line answers --help and mistakes before it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.toys import REPOSITORY, environment


def test_help_and_mistakes_need_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from megatinybert import search\n"
        "try: code = search.main(sys.argv[1:])\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    (tmp_path / "short.txt").write_text("Too short.\n")
    everything = [str(tmp_path), "--text", str(tmp_path / "short.txt"), "--passages", "9"]
    for options, code, texts in (
        (["--help"], 0, ["--questions", "search RUN_DIR --text PATH [PATH ...]", "of a task"]),
        ([], 2, ["RUN_DIR", "--text"]),
        ([*everything[1:3], everything[0]], 2, ["are required: RUN_DIR"]),
        (
            everything,
            2,
            [
                "error: 4 problems:",
                f"{tmp_path} is not the output folder of a run",
                "there is no question: ask with --question",
                "short.txt holds 0 passages of at least 20 words, or 40 Chinese characters",
                "--passages 9: ",
            ],
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *options], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        for text in texts:
            assert text in done.stdout + done.stderr
