"""The golden run: twenty steps of a fixed toy, whose losses test_golden.py compares with those on record.

After a change that is meant to change the losses, write the record anew and look at the difference:

    python -m tests.scripts.golden
    git diff tests/golden
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.helpers.toys import REPOSITORY, metrics, recipe, run_general

RECORD = REPOSITORY / "tests" / "golden" / "general-20-steps.json"
STEPS = 20


def golden_options(inputs: Path, run_dir: Path, **overrides: object) -> list[str]:
    """Options of the golden run, dropout on. Its steps take long enough for a test to kill it on its way."""
    options: dict[str, object] = {
        "run.output_dir": run_dir,
        "run.global_batch": 48,
        "run.max_steps": STEPS,
        "run.save_interval": 5,
        "run.held_out_interval": 10,
        "deepspeed": "zero1",
    }
    return recipe(inputs, **{**options, **overrides})


def losses(run_dir: Path) -> list[dict[str, float]]:
    """The step and the loss terms of every logged step; without the probes, whose ranks jump."""
    wanted = ("step", "loss/", "loss_per_layer/", "held_out/")
    rows = metrics(run_dir)
    probes = ("held_out/probe", "held_out/probe_through_projection")
    return [{tag: row[tag] for tag in row if tag.startswith(wanted) and tag not in probes} for row in rows]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        done = run_general(golden_options(Path(folder), run_dir))
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        lines = ",\n".join(json.dumps(row) for row in losses(run_dir))
    RECORD.parent.mkdir(exist_ok=True)
    RECORD.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"wrote {RECORD}")


if __name__ == "__main__":
    main()
