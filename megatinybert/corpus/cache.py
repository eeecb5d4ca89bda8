"""Text given straight to a run: made into token shards on first use, and found again by its content."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from megatinybert import __version__
from megatinybert.config.general import DataConfig
from megatinybert.corpus.build import BuildOptions, build_corpus
from megatinybert.corpus.describe import build_summary
from megatinybert.corpus.manifest import MANIFEST, PROGRESS
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.sources import Source, check_unchanged, find_sources
from megatinybert.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint

_CHUNK = 1 << 20

# What the messages of a build call the options, and what they are called here.
_OPTIONS = {
    "--input": "--data.text",
    "--output": "--data.cache",
    "--tokenizer": "--teacher.tokenizer",
    "--encoding": "--data.encoding",
    "--text-key": "--data.text_key",
    "--document": "--data.document",
    "--invalid-utf8": "data_prep/build_shards.py with --invalid-utf8",
    "--validation-fraction": "--validation-fraction of data_prep/build_shards.py",
    "--workers": "--workers of data_prep/build_shards.py",
}


def shard_text(config: DataConfig, tokenizer: str) -> list[str]:
    """The folders of token shards of `config.text`: one, or with a mixture one for each entry.

    tokenizer: folder or hub name. What the cache does not hold is built there, or built further, in all usable cores;
    a run that finds another one building waits for it. Says on stderr what it does.
    Raises ValueError where text or tokenizer are not as they have to be, or the cache is damaged.
    """
    assert config.text is not None
    entries = [_expand(entry) for entry in config.text]
    corpora = entries if config.mixture else [[path for paths in entries for path in paths]]
    try:
        fingerprint = tokenizer_fingerprint(load_tokenizer(tokenizer))
        return [str(_find_or_build(config, paths, tokenizer, fingerprint)) for paths in corpora]
    except (ValueError, RuntimeError) as error:  # RuntimeError: a worker was killed
        raise ValueError(_in_our_options(str(error))) from error


def _expand(entry: str) -> list[str]:
    """The paths that an entry of `data.text` names: itself, or what a pattern matches, sorted."""
    if Path(entry).exists() or not glob.has_magic(entry):
        return [entry]
    paths = sorted(glob.glob(entry, recursive=True))
    if not paths:
        raise ValueError(f"--data.text {entry}: no file matches this pattern")
    return paths


def _find_or_build(config: DataConfig, paths: list[str], tokenizer: str, fingerprint: str) -> Path:
    cache = Path(config.cache)
    options = BuildOptions(
        inputs=paths,
        tokenizer=tokenizer,
        output=cache,
        text_key=config.text_key,
        document=config.document,
        encoding=config.encoding,
        resume=True,
    )
    problems = options.problems()
    if problems:
        raise ValueError("\n".join(problems))
    sources, left_out = find_sources(paths, cache)
    folder = cache / f"{_label(paths)}-{_key(sources, options, fingerprint)}"
    cache.mkdir(parents=True, exist_ok=True)
    with _turn(folder):
        if (folder / MANIFEST).is_file():
            _check_whole(folder)
            _say(f"data: reusing the token shards in {folder}")
            return folder
        size = sum(source.size for source in sources) / 1e6
        going_on = "going on with" if (folder / PROGRESS).is_file() else "building"
        _say(f"data: {going_on} the token shards of {len(sources):,} file(s), {size:,.1f} MB, in {folder}")
        report = build_corpus(replace(options, output=folder), show_progress=True)
    _say(_in_our_options(build_summary(replace(report, left_out=left_out))))
    return folder


def _label(paths: Sequence[str]) -> str:
    """A name that tells people what the shards were made of."""
    stem = Path(paths[0]).resolve().name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem)[:40] or "text"


def _key(sources: Sequence[Source], options: BuildOptions, fingerprint: str) -> str:
    """A hash of all that decides what is written: the files in order, the tokenizer, the options, this version."""
    files = list(zip([source.name for source in sources], _checksums(sources), strict=True))
    content = json.dumps([__version__, fingerprint, options.shaping(), files], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _checksums(sources: Sequence[Source]) -> list[str]:
    """sha256 of each file. Shows its progress where it takes more than a few seconds."""
    checksums = []
    total = sum(source.size for source in sources)
    interval = 0.5 if sys.stderr.isatty() else 30
    with tqdm(
        total=total, desc="reading data.text", unit="B", unit_scale=True, delay=3, mininterval=interval, leave=False
    ) as bar:
        for source in sources:
            digest = hashlib.sha256()
            with source.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    bar.update(len(chunk))
            check_unchanged(source)
            checksums.append(digest.hexdigest())
    return checksums


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Let one run at a time look at a folder of the cache. The lock file stays: to remove it would let two in."""
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"data: another run is building {folder}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_whole(folder: Path) -> None:
    try:
        for split in ("train", "validation"):
            open_corpus(folder, split)
    except ValueError as error:
        raise ValueError(f"{error}\n--data.cache: delete {folder}, and the next run builds it from the text") from error


def _in_our_options(message: str) -> str:
    """A message of a build, with the names that its options have in a run."""
    return re.sub(r"(?<![\w.-])--[a-z0-9-]+", lambda option: _OPTIONS.get(option[0], option[0]), message)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
