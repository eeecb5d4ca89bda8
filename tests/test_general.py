"""The command line of general distillation, with a look at the files that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from megatinybert.config.schema import ConfigError
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from megatinybert.general import read_arguments


@pytest.mark.parametrize("more", [[], ["--data.cache", "cache"]])
def test_shards_that_are_wrong_are_told_with_all_else(tmp_path: Path, more: list[str]) -> None:
    for name in ("text", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "a.jsonl").touch()
    (tmp_path / "empty" / "tokenizer.json").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "manifest.json").write_text(json.dumps({"format_version": 2}))
    folders = [str(tmp_path / name) for name in ("nothing", "text", "empty", "damaged")]
    models = ["--teacher.model", "organisation/teacher", "--student.config", "2L-192"]
    with pytest.raises(ConfigError) as caught:
        read_arguments([*models, "--data.shards", *folders, *more], look=True)
    *options, nothing, text, empty, damaged = caught.value.problems
    assert len(options) == bool(more) and all(
        "--data.cache cache (command line) has no effect" in each for each in options
    )
    assert nothing.startswith(f"--data.shards {folders[0]} is neither a folder of shards nor the prefix")
    assert text == f"--data.shards {folders[1]} holds text, no token shards: give --data.text {folders[1]} instead"
    assert empty.startswith(f"--data.shards {folders[2]} holds no manifest.json: it is not a folder of")
    assert damaged.startswith(f"{folders[3]}/manifest.json is damaged or of another version")


def test_torch_is_not_imported_for_it(tmp_path: Path) -> None:
    code = (
        "import sys; from megatinybert.general import read_arguments\n"
        "try: read_arguments(sys.argv[1:], look=True)\n"
        "except ValueError as error: print('holds no manifest' in str(error), 'torch' in sys.modules)"
    )
    arguments = ["--data.shards", str(tmp_path), "--teacher.model", "organisation/teacher"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_shards_of_another_tokenizer_and_a_damaged_validation_split_are_told_without_torch(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(f"bird stone {number}" for number in range(200)))
    for name, words in (("teacher", ["bird", "stone"]), ("other", ["stone", "bird"])):
        (tmp_path / name).mkdir()
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
        (tmp_path / name / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 7}))
        given = {"input": [str(tmp_path / "a.txt")], "tokenizer": str(tmp_path / name), "workers": 1}
        build_corpus(BuildOptions(**given, output=tmp_path / f"of-{name}", validation_fraction=0.3))
    code = (
        "import sys; from megatinybert.general import read_arguments\n"
        "try: print(len(read_arguments(sys.argv[1:], look=True).data.shards))\n"
        "except ValueError as error: print(error)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )

    def told(*shards: str) -> str:
        arguments = ["--teacher.model", str(tmp_path / "teacher"), "--student.config", "2L-192", "--data.shards"]
        arguments += [str(tmp_path / name) for name in shards]
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    assert told("of-teacher") == "1\n"
    assert told("of-teacher", "of-other").startswith(
        f"--data.shards {tmp_path / 'of-other'} was made with the tokenizer"
    )
    (tmp_path / "of-teacher" / "validation-00000.bin").write_bytes(b"")
    assert "of-teacher/validation-00000.bin has 0 bytes, but the manifest says" in told("of-teacher")
