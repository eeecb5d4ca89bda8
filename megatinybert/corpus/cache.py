"""Shards of a run's text, built on first use."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from megatinybert import __version__
from megatinybert.config.data import DataConfig
from megatinybert.config.shards import HELD_OUT_SHARE, BuildOptions
from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings
from megatinybert.corpus.build import build_corpus, shaping
from megatinybert.corpus.describe import build_summary
from megatinybert.corpus.manifest import MANIFEST, PROGRESS
from megatinybert.corpus.other_kinds import left_aside
from megatinybert.corpus.run_text import NAMES, corpora_of
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.sources import Source, check_unchanged, find_sources, kind_of
from megatinybert.corpus.tokenizer import load_tokenizer, tokenizer_fingerprint
from megatinybert.corpus.wrong_text import unknown_text
from megatinybert.runtime.counts import counted
from megatinybert.runtime.files import file_lock
from megatinybert.runtime.progress_bar import progress_bar

_CHUNK = 1 << 20
_HELD_OUT_BYTES = 1 << 17  # of text: some 250 windows of 128 tokens
_LARGEST_SHARE = 0.05  # held out of a small text


def shard_text(config: DataConfig, tokenizer: str) -> list[str]:
    """The folders of token shards of `config.text`: one, or with a mixture one for each entry.

    tokenizer: folder or hub name. What the cache does not hold is built there, or built further, in all usable cores;
    a run that finds another one building waits for it. Says on stderr what it does.
    Raises ValueError where text or tokenizer are not as they have to be, or the cache is damaged.
    """
    try:
        Path(config.cache).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"--data.cache {config.cache} cannot be made ({error.strerror}): name a folder for shards"
        raise ValueError(text) from error
    corpora, left_out = corpora_of(config)
    if left_out:
        _say(f"data: --data.text names what runs keep in --data.cache {config.cache}, too, which is left out")
    try:
        reader = load_tokenizer(tokenizer)
        return [str(_find_or_build(config, paths, tokenizer, reader)) for paths in corpora]
    except RuntimeError as error:  # a worker was killed
        raise ValueError(str(error)) from error


def _find_or_build(config: DataConfig, paths: list[str], tokenizer: str, reader: Tokenizer) -> Path:
    cache = Path(config.cache)
    sources, left_out = find_sources(paths, cache, NAMES["input"])
    options = BuildOptions(
        input=paths,
        tokenizer=tokenizer,
        output=cache,
        text_key=config.text_key,
        document=config.document,
        encoding=config.encoding,
        invalid_utf8=config.invalid_utf8,
        skip_bad_records=config.skip_bad_records,
        validation_fraction=_held_out_share(sum(source.size for source in sources)),
        resume=True,
        names=NAMES,
    )
    if left_out:
        _say(f"data: {left_aside(left_out)}")
    folder = _folder(cache, _label(paths), _key(sources, options, tokenizer_fingerprint(reader)))
    busy = f"data: another run is building {folder}: waiting for it"
    with file_lock(folder.with_name(f"{folder.name}.lock"), busy, wait=True):
        if (folder / MANIFEST).is_file():
            _check_whole(folder)
            _say(f"data: reusing the token shards in {folder}")
            return folder
        if unknown := unknown_text(sources, ReadSettings.of(options, BLOCK_BYTES, NAMES), reader, tokenizer):
            raise ValueError(unknown[0])
        size = sum(source.size for source in sources) / 1e6
        going_on = "going on with" if (folder / PROGRESS).is_file() else "building"
        _say(f"data: {going_on} the token shards of {counted(len(sources), 'file')}, {size:,.1f} MB, in {folder}")
        report = build_corpus(options.model_copy(update={"output": folder}), show_progress=True, leave_out=cache)
    # The run tells warnings, and that nothing is held out, of shards that were there too.
    shown = {name: value for name, value in report.manifest.options.items() if name != "validation_fraction"}
    quiet = report.manifest.model_copy(update={"warnings": [], "options": shown})
    _say(build_summary(replace(report, manifest=quiet, left_out=[]), NAMES))
    return folder


def _held_out_share(size: int) -> float:
    """Of the documents of so many bytes: more than the usual part where that would leave too little to measure on."""
    return min(max(float(f"{_HELD_OUT_BYTES / max(size, 1):.1g}"), HELD_OUT_SHARE), _LARGEST_SHARE)


def _folder(cache: Path, label: str, key: str) -> Path:
    """Where the shards of this key are, or are to be: those that are whole may have been named by other paths. What is
    unfinished is gone on with by the same paths alone, as its record names them.
    """
    whole = (path.parent for path in sorted(cache.glob(f"*-{key}/{MANIFEST}")))
    return next(whole, cache / f"{label}-{key}")


def _label(paths: Sequence[str]) -> str:
    """A name that tells people what the shards were made of."""
    stem = Path(paths[0]).resolve().name.split(".")[0]
    return re.sub(r"[^\w-]+", "-", stem)[:40] or "text"


def _key(sources: Sequence[Source], options: BuildOptions, fingerprint: str) -> str:
    """A hash of all that decides the tokens: the files in order, however they are called, the tokenizer, the options,
    this version.
    """
    kinds = [(kind_of(source.path), source.path.suffix.lower()) for source in sources]  # which say how each is read
    files = list(zip(kinds, _checksums(sources), strict=True))
    content = json.dumps([__version__, fingerprint, shaping(options), files], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _checksums(sources: Sequence[Source]) -> list[str]:
    """sha256 of each file. Shows its progress where it takes more than a few seconds."""
    checksums = []
    total = sum(source.size for source in sources)
    with progress_bar(total, "B", unit_scale=True, desc="reading data.text", delay=3, leave=False) as bar:
        for source in sources:
            digest = hashlib.sha256()
            with source.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    bar.update(len(chunk))
            check_unchanged(source)
            checksums.append(digest.hexdigest())
    return checksums


def _check_whole(folder: Path) -> None:
    try:
        for split in ("train", "validation"):
            open_corpus(folder, split)
    except ValueError as error:
        raise ValueError(f"{error}\n--data.cache: delete {folder}, and the next run builds it from the text") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
