"""The program behind launch/general.sh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from megatinybert.runtime.signals import silent_interrupts

with silent_interrupts():
    from pydantic import ValidationError

    from megatinybert.config.data import DataConfig
    from megatinybert.config.family import members_of
    from megatinybert.config.general import GeneralConfig
    from megatinybert.config.hub import settle_hub
    from megatinybert.config.load import load_config
    from megatinybert.config.missing import missing_shards, missing_text
    from megatinybert.config.named_paths import hub_names, missing_of_general, names_in
    from megatinybert.config.schema import ConfigError
    from megatinybert.models.shapes import misfit
    from megatinybert.programs.start import run_program
    from megatinybert.runtime.findings import Findings
    from megatinybert.training.lock import check_unlocked


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(read_arguments, "megatinybert.programs.distil.distil", "megatinybert.programs.finished.end_again")


def read_arguments(argv: list[str], look: bool = False) -> GeneralConfig:
    """look: at the paths that are named and the text's files, too, whether the models fit each other as far as their
    files say, and whether another run is in the output folder. Raises ConfigError.
    """
    config = load_config(argv, _wrong_paths if look else None)
    if look:
        _check_fits(config)
        check_unlocked(Path(config.run.output_dir))
        settle_hub(hub_names(config))
    return config


def _wrong_paths(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the paths that options name, and with the files of the text or the shards."""
    problems = missing_of_general(given)
    texts = names_in(given, "data.text")
    if not texts:
        problems += _wrong_shards(path for path in names_in(given, "data.shards") if not missing_shards(Path(path)))
    if "data.shards" in given or not texts or any(missing_text("--data.text", name) for name in texts):
        return problems
    values = {name.removeprefix("data."): value for name, value in given.items() if name.startswith("data.")}
    if None in values.values():
        return problems  # it may be read otherwise, by an option that is misspelt
    try:
        data = DataConfig.model_validate(values)
    except ValidationError:  # which the schema tells
        return problems
    from megatinybert.corpus.wrong_text import wrong_text  # and with it numpy, which --help need not wait for

    return problems + wrong_text(data)


def _wrong_shards(paths: Iterable[str]) -> list[str]:
    """What a run refuses in shards that are there."""
    from megatinybert.corpus.shards import open_splits  # and with it numpy

    findings = Findings()
    for path in paths:
        findings.attempt("shards", open_splits, path)
    return findings.texts("fail")


def _of_another_tokenizer(config: GeneralConfig) -> list[str]:
    """What is wrong with shards of another tokenizer than the run's, where its files are in a folder."""
    name, shards = config.teacher.tokenizer or config.teacher.model, config.data.shards
    if not (name and shards and Path(name).is_dir()):
        return []
    from megatinybert.corpus.shards import open_corpus
    from megatinybert.corpus.tokenizer import read_files, tokenizer_fingerprint
    from megatinybert.samples.open import made_by_another

    with suppress(ValueError, OSError):  # which the run tells
        if tokenizer := read_files(Path(name)):
            fingerprint = tokenizer_fingerprint(tokenizer)
            return [text for path in shards for text in made_by_another(path, open_corpus(path), fingerprint)]
    return []


def _of_another_language(config: GeneralConfig) -> list[str]:
    """What is wrong with a text that the run's tokenizer does not know, where its files are in a folder."""
    name = config.teacher.tokenizer or config.teacher.model
    if not (name and config.data.text and Path(name).is_dir()):
        return []
    from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings
    from megatinybert.corpus.run_text import NAMES, sources_of
    from megatinybert.corpus.tokenizer import read_files
    from megatinybert.corpus.wrong_text import unknown_text

    with suppress(ValueError, OSError):  # which the run tells
        if tokenizer := read_files(Path(name)):
            return unknown_text(
                sources_of(config.data), ReadSettings.of(config.data, BLOCK_BYTES, NAMES), tokenizer, name
            )
    return []


def _check_fits(config: GeneralConfig) -> None:
    """Raise ConfigError where models do not fit each other, or the run to be continued is another one."""
    from megatinybert.programs.general_options import check_begun

    findings = Findings()
    findings.attempt("run", check_begun, config)
    told = [*_misfits(config), *_of_another_tokenizer(config), *_of_another_language(config), *findings.texts("fail")]
    if told:
        raise ConfigError.of(told)


def _misfits(config: GeneralConfig) -> list[str]:
    if config.teacher.model is None or config.objective.name != "tinybert":
        return []
    problems = {
        name: misfit(each.objective, each.student.config, config.teacher.model)
        for name, each in (members_of(config) or {"": config}).items()
    }
    lines = ((name, line) for name, own in problems.items() for line in own)
    return [f"{name}: {line}" if name else line for name, line in lines]


if __name__ == "__main__":
    main()
