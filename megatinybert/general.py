"""The program behind launch/general.sh."""

from __future__ import annotations

from pathlib import Path

from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.config.hub import settle_hub
from megatinybert.config.load import load_config
from megatinybert.config.named_paths import hub_names, missing_of_general
from megatinybert.config.schema import ConfigError
from megatinybert.models.shapes import misfit
from megatinybert.programs.start import run_program
from megatinybert.training.lock import check_unlocked


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(read_arguments, "megatinybert.programs.distil.distil")


def read_arguments(argv: list[str], look: bool = False) -> GeneralConfig:
    """look: at the paths that are named, too, whether the models fit each other as far as their files say, and whether
    another run is in the output folder. Raises ConfigError.
    """
    config = load_config(argv, missing_of_general if look else None)
    if look:
        _check_fits(config)
        check_unlocked(Path(config.run.output_dir))
        settle_hub(hub_names(config))
    return config


def _check_fits(config: GeneralConfig) -> None:
    if config.teacher.model is None or config.objective.name != "tinybert":
        return
    problems = {
        name: misfit(each.objective, each.student.config, config.teacher.model)
        for name, each in (members_of(config) or {"": config}).items()
    }
    told = [f"{name}: {problem}" if name else problem for name, problem in problems.items() if problem]
    if told:
        raise ConfigError("\n".join(told), told)


if __name__ == "__main__":
    main()
