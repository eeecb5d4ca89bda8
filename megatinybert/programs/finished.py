"""Whether a general run has nothing left to do, by a look at files alone. No torch is imported here."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from megatinybert.config.family import members_of
from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import dump_yaml
from megatinybert.config.run_folder import STUDENT_FOLDER
from megatinybert.corpus.run_text import sources_of
from megatinybert.training.checkpoints.checkpoint import read_state
from megatinybert.training.checkpoints.which import find_checkpoint
from megatinybert.training.rates import RATES, STEPS

_OPEN = {"epochs", "global_batch", "learning_rate"}  # null in a command, settled in the recipe of its run
_EXPORTED = ("objective.safetensors", *(f"{STUDENT_FOLDER}/{name}" for name in ("model.safetensors", "README.md")))


def end_again(config: GeneralConfig) -> str | None:
    """What to print where `steps_of_finished` finds the run finished: that, and what it printed at its end."""
    steps = steps_of_finished(config)
    if steps is None:
        return None
    from megatinybert.programs.ending import ending  # and with it matplotlib

    output = Path(config.run.output_dir)
    end = ending(output, list(members_of(config)))
    return f"{output} is finished: step {steps:,} of {steps:,}\n\n{end}"


def steps_of_finished(config: GeneralConfig) -> int | None:
    """The steps of the run in the output folder where all are done, its students are exported, and `config` asks for
    the same; None where anything else may have to be done or told.

    So it is None, too, where a file that an option names, or one of the text, is newer than the last checkpoint: what
    is in it is compared by the run itself.
    """
    output = Path(config.run.output_dir)
    with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        if config.run.resume != "auto" or not _asks_for(_recipe(config), output / "config.yaml"):
            return None
        members = members_of(config) or {"": config}
        steps = {_last_step(member) for member in members.values()}
        return steps.pop() if len(steps) == 1 else None
    return None


def is_exported(output: Path, checkpoint: Path) -> bool:
    """Whether the output folder of one student has all that its export leaves, and has it since this checkpoint."""
    saved, files = (checkpoint / "state.json").stat(), [output / name for name in _EXPORTED]
    return all(file.is_file() and file.stat().st_mtime >= saved.st_mtime for file in files)


def _recipe(config: GeneralConfig) -> Any:
    return yaml.safe_load(dump_yaml(config))


def _asks_for(recipe: Any, file: Path) -> bool:
    recorded = yaml.safe_load(file.read_text(encoding="utf-8"))
    del recorded["environment"]
    return _same(recipe, recorded)


def _same(now: Any, there: Any, name: str = "") -> bool:
    """Whether options have the values that are recorded there, where they are not left open."""
    if isinstance(now, dict) and isinstance(there, dict):
        return all(_same(now.get(key), there.get(key), key) for key in {**now, **there})
    if isinstance(now, list) and isinstance(there, list):
        return len(now) == len(there) and all(map(_same, now, there))
    return bool(now == there) or (now is None and name in _OPEN)


def _last_step(config: GeneralConfig) -> int | None:
    """The step of the newest checkpoint of one student, if it is the last one and the export is newer."""
    found, passed_over = find_checkpoint(config.run, checksums=False)
    if not found or passed_over:
        return None
    (step, facts), saved = read_state(found), (found / "state.json").stat()
    if step != facts[RATES][STEPS] or not is_exported(Path(config.run.output_dir), found):
        return None
    # Of a file that was moved to where it is, that is the time of the change that counts.
    changed = any(path.stat().st_ctime > saved.st_ctime for path in _named(config) if path.is_file())
    return None if changed else step


def _named(config: GeneralConfig) -> Iterator[Path]:
    """The files that options name, and those in folders; of models that the hub has, none."""
    if config.data.text:
        yield from (source.path for source in sources_of(config.data))
    teacher, student = config.teacher, config.student
    models = [teacher.model, teacher.tokenizer, teacher.deepspeed, student.config, student.init, config.deepspeed]
    for name in filter(None, [*models, *(config.data.shards or [])]):
        path = Path(name)
        yield path
        yield from path.rglob("*")
        yield from path.parent.glob(f"{glob.escape(path.name)}.*")  # of a Megatron dataset
