"""The program behind launch/task.sh."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatinybert.runtime.signals import silent_interrupts

with silent_interrupts():
    from pydantic import ValidationError

    from megatinybert.config.hub import settle_hub
    from megatinybert.config.load import load_options
    from megatinybert.config.named_paths import hub_names, missing_of_task
    from megatinybert.config.nearest import nearest
    from megatinybert.config.rows import RowOptions
    from megatinybert.config.schema import ConfigError
    from megatinybert.config.task import ACTIONS, READING, TASK, TaskConfig, TaskDataConfig
    from megatinybert.models.shapes import misfit, shape_named
    from megatinybert.programs.start import run_program
    from megatinybert.runtime.findings import Findings
    from megatinybert.tasks.reading.wrong_files import wrong_files
    from megatinybert.tasks.stage_options import has_stage_one
    from megatinybert.training.lock import check_unlocked


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(read_arguments, "megatinybert.programs.task_actions.run_task")


def read_arguments(argv: list[str], look: bool = False) -> tuple[str, TaskConfig]:
    """(action, configuration). --local_rank, which the launcher puts first, is ignored. look: at the paths that are
    named and the task's files, too, and whether another run is in the output folder. Raises ConfigError.
    """
    rest = [argument for argument in argv if not argument.startswith(("--local_rank=", "--local-rank="))]
    if not rest or (rest[0].startswith("--") and rest[0] not in ("--help", "-h")):
        needed = f"the first argument is one of {', '.join(ACTIONS)}; --help lists the options"
        raise ConfigError(f"no action is given: {needed}" + ("" if rest else f"\n\n{TASK.usage}"))
    if rest[0] in ("--help", "-h"):
        return "", load_options(["--help"], TASK)
    action, *options = rest
    if action not in ACTIONS:
        meant = nearest(action, ACTIONS)
        hint = f"did you mean {meant}?" if meant else f"the first argument is one of {', '.join(ACTIONS)}"
        raise ConfigError(f"{action}: no such action; {hint}")
    config = load_options(options, TASK, functools.partial(_wrong_paths, action) if look else None)
    if look:
        _check_fits(action, config)
        settle_hub(hub_names(config))
    return action, config


def _check_fits(action: str, config: TaskConfig) -> None:
    """Raise ConfigError where models do not fit each other, another run is in the output folder, or stages there were
    trained otherwise.
    """
    findings, problems = Findings(), list[str]()
    if action in ("one", "all") and has_stage_one(config):
        shape, option = shape_named(config.student.config, config.student.init)
        problems = misfit(config.objective, shape, config.teacher.model, option)
    if action not in READING:
        from megatinybert.tasks.made_otherwise import check_augmentation, check_stages_early  # and what reads rows
        from megatinybert.tasks.rows_now import RowsNow
        from megatinybert.tasks.unknown_rows import unknown_rows

        rows, stages = RowsNow(config), ACTIONS if action == "all" else (action,)
        findings.attempt("run", check_unlocked, Path(config.run.output_dir))
        if not findings.failed and Path(config.run.output_dir).is_dir():
            findings.attempt("task", check_stages_early, rows, stages)
            findings.attempt("task", check_augmentation, config, stages, rows)
        problems += [*findings.texts("fail"), *unknown_rows(rows)]
    if problems:
        raise ConfigError.of(problems)


def _wrong_paths(action: str, given: Mapping[str, Any]) -> list[str]:
    """What is wrong with the paths that options name, and with the task's files."""
    problems = missing_of_task(action, given)
    how = [f"task.{field}" for field in RowOptions.model_fields]
    if any(name in given and given[name] is None for name in how):
        return problems  # the files are to be read otherwise, by an option that is misspelt
    try:
        task = TaskDataConfig.model_validate(
            {name.removeprefix("task."): value for name, value in given.items() if name.startswith("task.")}
        )
    except ValidationError:  # which the schema tells
        return problems
    named = given.get("predict.input") if action == "predict" else None
    answered = Path(str(named)) if named else None
    if Path(task.data_dir).is_dir() and (answered is None or answered.is_file()):
        problems += wrong_files(task, action == "predict", answered)
    return problems


if __name__ == "__main__":
    main()
