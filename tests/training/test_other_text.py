"""A run that is continued on another text is told which files are others, before PyTorch is loaded."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from megatinybert.config.data import DataConfig
from megatinybert.config.load import load_config
from megatinybert.config.schema import ConfigError
from megatinybert.corpus import text_files
from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings, read_blocks
from megatinybert.corpus.run_text import NAMES, sources_of
from megatinybert.corpus.text_files import TextFile
from megatinybert.general import read_arguments
from megatinybert.programs.distil import distil
from megatinybert.programs.general_options import decided_by_options
from megatinybert.runtime.dist import World
from megatinybert.training.other_text import FILES, told_by_files
from tests.helpers.toys import recipe, run_general

REMEDY = (
    "set these back to continue it (the same text, models and options), or choose another --run.output_dir for a new "
    "run"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command of a run that has a checkpoint, on the text in data."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("teacher").mkdir()
    Path("teacher/config.json").write_text("{}")
    for name in ("a", "b"):
        Path("data", f"{name}.txt").write_text(f"text {name}\n" * 3)
    checkpoint = Path("run/checkpoints/step-00000005")
    checkpoint.mkdir(parents=True)
    files = []
    for source in sources_of(given := DataConfig(text=["data"])):
        (block,) = read_blocks([source], ReadSettings.of(given, BLOCK_BYTES, NAMES))
        files.append([source.name, source.size, block.sha256[:16]])
    command = ["--teacher.model", "./teacher", "--data.text", "data", "--run.output_dir", "run"]
    facts = {**decided_by_options(load_config(command)), FILES: files, "corpus checksum": "of both"}
    (checkpoint / "state.json").write_text(json.dumps({"step": 5, "facts": facts, "files": {}}))
    return command


def told(command: list[str], *more: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_arguments([*command, *more], look=True)
    return str(caught.value)


def test_what_changed_is_named(run: list[str]) -> None:
    Path("data/a.txt").write_text("text a\n" * 4)
    Path("data/b.txt").rename("data/c.txt")
    Path("data/c.txt").write_text("another\n")
    assert told(run) == "\n".join(
        [
            "run/checkpoints/step-00000005 was written by another kind of run:",
            "  text file data/a.txt: 21 bytes there, 28 bytes now",
            "  text file data/b.txt: 21 bytes there, none now",
            "  text file data/c.txt: none there, 8 bytes now",
            REMEDY,
        ]
    )
    Path("data/c.txt").rename("data/b.txt")
    Path("data/a.txt").write_text("text A\n" * 3)
    lines = told(run).splitlines()
    assert lines[1].startswith("  text file data/a.txt: 21 bytes (sha256 of the text ") and len(lines) == 4


def test_a_new_run_may_begin_with_the_student_once_there_is_one(run: list[str]) -> None:
    Path("data/a.txt").write_text("text a\n" * 4)
    assert told(run).endswith(REMEDY)
    Path("run/student").mkdir()
    Path("run/student/config.json").write_text("{}")
    advice = "--student.init run"
    assert told(run).endswith(f"{REMEDY} ({advice} lets that one begin with its student)")
    read_arguments([*run, "--run.output_dir", "new", *advice.split()], look=True)


def test_the_same_text_may_be_called_and_written_otherwise(run: list[str]) -> None:
    read_arguments(run, look=True)
    Path("data/a.txt").rename("data/A.txt")
    Path("data/b.txt").unlink()
    Path("data/b.txt.gz").write_bytes(gzip.compress(b"text b\r\n" * 3))
    read_arguments(run, look=True)
    Path("data/b.txt.gz").unlink()
    for elsewhere in (["--run.output_dir", "new"], ["--run.output_dir", "new", "--run.seed", "3"]):
        read_arguments([*run, *elsewhere], look=True)


def test_large_files_are_counted(run: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "READ_WHOLE", 20)
    read_arguments(run, look=True)
    Path("data/a.txt").write_text("text A\n" * 3)
    Path("data/b.txt").write_text("text b\n" * 4)
    read_arguments(run, look=True)  # which the run tells: it may be the same text with other line ends
    Path("data/c.txt").write_text("text c\n")
    assert told(run).splitlines()[1:-1] == ["  text file data/c.txt: none there, 7 bytes now"]


def test_hashes_stand_where_no_file_tells_it() -> None:
    def facts(checksum: str, *files: TextFile) -> dict[str, Any]:
        return {"corpus checksum": checksum, FILES: [list(each) for each in files]}

    one, other = TextFile("a.txt", 1, "a"), TextFile("a.txt", 2, "b")
    assert told_by_files(facts("x", one), facts("y", other))[0] == {"text file a.txt": "1 bytes"}
    for there, here in ((facts("x", one), facts("y", one)), (facts("x"), facts("y", one))):
        assert told_by_files(there, here) == ({"corpus checksum": "x"}, {"corpus checksum": "y"})


def test_a_run_records_its_files_and_is_not_continued_on_others(toy_inputs: Path, tmp_path: Path) -> None:
    """By whichever of the two looks sees it first."""
    text = tmp_path / "a.txt"
    text.write_text("\n\n".join(f"w{n % 50} " + " ".join(f"w{(n + i) % 50}" for i in range(40)) for n in range(60)))
    more = {"data.shards": "null", "data.text": text, "data.cache": tmp_path / "cache", "run.max_steps": 2}
    command = recipe(toy_inputs, **more, **{"run.output_dir": tmp_path / "run"})
    done = run_general(command)
    assert done.returncode == 0, done.stderr
    read_arguments(command, look=True)
    before = text.stat().st_size
    text.write_text(text.read_text() + "\n\nw1 w2 w3\n")
    line = f"\n  text file a.txt: {before:,} bytes there, {text.stat().st_size:,} bytes now\n"
    assert line in told(command)
    with pytest.raises(ValueError, match="another kind of run") as caught:
        distil(read_arguments(command), World(0, 1, torch.device("cpu")))
    assert line in str(caught.value) and "corpus checksum" not in str(caught.value)
