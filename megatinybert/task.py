"""The program behind launch/task.sh."""

from __future__ import annotations

import functools
from pathlib import Path

from megatinybert.config.hub import settle_hub
from megatinybert.config.load import load_options
from megatinybert.config.named_paths import hub_names, missing_of_task
from megatinybert.config.nearest import nearest
from megatinybert.config.schema import ConfigError
from megatinybert.config.task import ACTIONS, READING, TASK, TaskConfig
from megatinybert.programs.start import run_program
from megatinybert.training.lock import check_unlocked


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(read_arguments, "megatinybert.programs.task_actions.run_task")


def read_arguments(argv: list[str], look: bool = False) -> tuple[str, TaskConfig]:
    """(action, configuration). --local_rank, which the launcher puts first, is ignored. look: at the paths that are
    named, too, and whether another run is in the output folder. Raises ConfigError.
    """
    rest = [argument for argument in argv if not argument.startswith(("--local_rank=", "--local-rank="))]
    if not rest:
        needed = f"the first argument is one of {', '.join(ACTIONS)}; --help lists the options"
        raise ConfigError(f"no action is given: {needed}\n\n{TASK.usage}")
    if rest[0] in ("--help", "-h"):
        return "", load_options(["--help"], TASK)
    action, *options = rest
    if action not in ACTIONS:
        meant = nearest(action, ACTIONS)
        hint = f"did you mean {meant}?" if meant else f"the first argument is one of {', '.join(ACTIONS)}"
        raise ConfigError(f"{action}: no such action; {hint}")
    config = load_options(options, TASK, functools.partial(missing_of_task, action) if look else None)
    if look and action not in READING:
        check_unlocked(Path(config.run.output_dir))
    if look:
        settle_hub(hub_names(config))
    return action, config


if __name__ == "__main__":
    main()
