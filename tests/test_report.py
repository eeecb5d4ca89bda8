"""The report's command line answers --help and mistakes before it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.toys import REPOSITORY, environment


def test_help_and_mistakes_need_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from megatinybert import report\n"
        "try: code = report.main(sys.argv[1:])\n"
        "except SystemExit as stopped: code = stopped.code\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    for options, code, text in (
        (["--help"], 0, "run.output_dir"),
        ([], 2, "RUN_DIR"),
        ([str(tmp_path)], 2, f"error: {tmp_path} is not the output folder of a run"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *options], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert text in done.stdout + done.stderr
