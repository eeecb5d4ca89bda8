"""The command line of general distillation, with a look at the files that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.schema import ConfigError
from megatinybert.general import read_arguments


@pytest.mark.parametrize("more", [[], ["--data.cache", "cache"]])
def test_shards_that_are_wrong_are_told_with_all_else(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text(json.dumps({"format_version": 2}))
    folders = [str(tmp_path / name) for name in ("nothing", "text", "damaged")]
    models = ["--teacher.model", "organisation/teacher", "--student.config", "2L-192"]
    with pytest.raises(ConfigError) as caught:
        read_arguments([*models, "--data.shards", *folders, *more], look=True)
    *options, nothing, text, damaged = caught.value.problems
    assert len(options) == bool(more) and all(
        "--data.cache cache (command line) has no effect" in each for each in options
    )
    assert nothing.startswith(f"{folders[0]} is neither a folder of shards nor the prefix")
    assert text.startswith(f"{folders[1]} holds no manifest.json")
    assert damaged.startswith(f"{folders[2]}/manifest.json is damaged or of another version")


def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    code = (
        "import sys; from megatinybert.general import read_arguments\n"
        "try: read_arguments(sys.argv[1:], look=True)\n"
        "except ValueError as error: print('holds no manifest' in str(error), 'torch' in sys.modules)"
    )
    arguments = ["--data.shards", str(tmp_path), "--teacher.model", "organisation/teacher"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
