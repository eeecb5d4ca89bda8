"""The files of a run's text, as `--data.text` names them."""

from __future__ import annotations

import glob
from pathlib import Path

from megatinybert.config.data import DataConfig
from megatinybert.config.flat import OptionNames
from megatinybert.config.missing import missing_text
from megatinybert.corpus.manifest import MANIFEST
from megatinybert.corpus.sources import Source, find_sources

# What a run calls the options of a build. It has none for some of them.
NAMES = OptionNames(
    input="--data.text",
    output="--data.cache",
    tokenizer="--teacher.tokenizer",
    encoding="--data.encoding",
    text_key="--data.text_key",
    document="--data.document",
    invalid_utf8="--data.invalid_utf8",
    validation_fraction="--validation-fraction of data_prep/build_shards.py",
    workers="--workers of data_prep/build_shards.py",
    resume="--resume of data_prep/build_shards.py",
    skip_bad_records="--data.skip_bad_records",
    drop_duplicates="--drop-duplicates of data_prep/build_shards.py",
    tokenizer_engine="--tokenizer-engine of data_prep/build_shards.py",
)


def corpora_of(config: DataConfig) -> tuple[list[list[str]], bool]:
    """(The paths of each corpus of `config.text`: of one, or with a mixture of one for each entry; whether some were
    left out, as they are what runs keep in `config.cache`).

    Raises ValueError for a pattern that matches nothing, and where nothing but such shards is named.
    """
    assert config.text is not None
    entries = [_expand(entry) for entry in config.text]
    named = entries if config.mixture else [[path for paths in entries for path in paths]]
    corpora = [_without_shards(paths, Path(config.cache)) for paths in named]
    return corpora, corpora != named


def sources_of(config: DataConfig) -> list[Source]:
    """The files of `config.text`, of all corpora in order. Raises ValueError as `find_sources` and `corpora_of` do."""
    corpora, _ = corpora_of(config)
    return [source for paths in corpora for source in find_sources(paths, Path(config.cache), NAMES["input"])[0]]


def _expand(entry: str) -> list[str]:
    """The paths that an entry of `data.text` names: itself, or what a pattern matches, sorted."""
    if Path(entry).exists() or not glob.has_magic(entry):
        return [entry]
    if problem := missing_text("--data.text", entry):
        raise ValueError(problem)
    return sorted(glob.glob(entry, recursive=True))


def _without_shards(paths: list[str], cache: Path) -> list[str]:
    """The paths without the cache and what it holds, which a pattern such as `data/*` matches, too."""
    own = cache.resolve()

    def is_ours(path: Path) -> bool:
        folder = path if path.is_dir() else path.parent
        if folder == own:  # a text may stand here, too
            return path == own or path.suffix == ".lock"
        return folder.is_relative_to(own) and (folder / MANIFEST).is_file()

    kept = [path for path in paths if not is_ours(Path(path).resolve())]
    if not kept:
        raise ValueError(f"--data.text {paths[0]}: token shards that runs keep in --data.cache {cache}, and no text")
    return kept
