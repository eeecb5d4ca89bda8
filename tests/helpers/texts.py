"""Texts in the words of a small tokenizer, and builds of them in processes of their own."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
import time
from pathlib import Path

from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.tokenizer import load_tokenizer
from tests.helpers.toys import REPOSITORY

SCRIPT = REPOSITORY / "data_prep" / "build_shards.py"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [a + b + c for a in "bdfklm" for b in "aeiou" for c in ("bird", "stone", "river", "field", "ring")]
CHINESE = "我们的世界很大今天下雨了"
VOCABULARY = [
    *SPECIALS,
    *WORDS,
    *sorted(set(CHINESE)),
    *string.ascii_lowercase,
    *(f"##{letter}" for letter in string.ascii_lowercase),
    *string.digits,
    *string.punctuation,
]


def documents(count: int, seed: int = 0, lines: int = 6, words: int = 30) -> list[list[str]]:
    """Random documents, each a list of lines."""
    draw = random.Random(seed)
    return [
        [" ".join(draw.choices(WORDS, k=draw.randint(1, words))) for _ in range(draw.randint(1, lines))]
        for _ in range(count)
    ]


def as_text(documents: list[list[str]]) -> str:
    """Documents with a blank line between them."""
    return "\n".join("".join(f"{line}\n" for line in lines) for lines in documents)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# A build with small blocks and a commit after each, as the command has no options for these.
SMALL_BLOCKS = """
import json, sys
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    pace = {name: options.pop(name) for name in ("block_bytes", "commit_seconds") if name in options}
    build_corpus(BuildOptions(**options), **pace)
"""


def start(options: dict[str, object]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SMALL_BLOCKS, json.dumps(options)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def command(*arguments: object, limit_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run build_shards.py; with a limit, no file may grow beyond it."""

    def limit() -> None:
        import resource

        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    words = [sys.executable, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(words, capture_output=True, text=True, env=environment, preexec_fn=limit)


def stored(folder: Path, tokenizer: Path, split: str = "train") -> list[list[str]]:
    """The documents of a corpus as text again."""
    loaded = load_tokenizer(tokenizer)
    return [
        [loaded.decode(ids.tolist()) for ids in shard.document_sequences(number)]
        for shard in open_corpus(folder, split).shards
        for number in range(shard.documents)
    ]


def wait_for_progress(process: subprocess.Popen[str], folder: Path, blocks: int, seconds: float = 60.0) -> int:
    for _ in range(int(seconds / 0.002)):
        assert process.poll() is None, "the build ended before it could be killed"
        if (folder / "progress.json").exists():
            done: int = json.loads((folder / "progress.json").read_text())["blocks"]
            if done >= blocks:
                return done
        time.sleep(0.002)
    raise AssertionError(f"no progress within {seconds:g} s")
