"""The model folder that a task's stage leaves, with the record of what decided it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megatinybert.runtime.counts import counted
from megatinybert.runtime.differences import refuse_differences, removal
from megatinybert.runtime.files import publish_folder
from megatinybert.tasks.stage_options import SECTIONS
from megatinybert.training.checkpoints.checkpoint import Best
from megatinybert.training.placement import PLACEMENT
from megatinybert.training.same_run import deciding_options, known_to, without_followers

if TYPE_CHECKING:  # else torch would be imported before a record can be read
    from megatinybert.runtime.dist import World
    from megatinybert.runtime.trainees import Trainees
    from megatinybert.training.stage import Facts

_MADE_OF = "stage.json"
# What is made from the model of a stage, or from augmented rows: folders beside it.
_OF_STAGE_TWO = ("predictions",)
_OF_STAGE_ONE = ("student", "stages/two", *_OF_STAGE_TWO)
_OF_ROWS = ("student-one", "stages/one", *_OF_STAGE_ONE)
_MADE_FROM = {
    **{"teacher": _OF_ROWS, "mlm": ("augmented", *_OF_ROWS), "augment": _OF_ROWS},
    **{"one": _OF_STAGE_ONE, "two": _OF_STAGE_TWO},
}


def made_of(stage: str, output: Path) -> list[Path]:
    """The folders that are there of what was made of a stage's result. output: of the task."""
    return [folder for name in _MADE_FROM.get(stage, ()) if (folder := output / name).is_dir()]


def records_of(models: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """What each of some model folders was made of, by name; nothing of those that no stage has left."""
    return {name: _record_in(folder) for name, folder in models.items() if (folder / _MADE_OF).is_file()}


@dataclass(frozen=True)
class ModelFolder:
    """The model that a stage leaves, and beside it, in stage.json, all that decided it.

    path: of the model. stage: the folder of the stage's checkpoints. tokenizer: folder or hub name.
    """

    path: Path
    stage: Path
    tokenizer: str

    @property
    def is_there(self) -> bool:
        """Whether the stage has left it, as it is now or otherwise."""
        return (self.path / _MADE_OF).is_file()

    @property
    def recorded(self) -> dict[str, Any]:
        """What it was made of, where it is there."""
        return _record_in(self.path)

    def is_made(self, facts: Facts) -> bool:
        if not self.is_there:
            return False
        before = self.recorded
        self.refuse_others(_made_of(before), _made_of(known_to(before, facts)))
        return True

    def check_options(self, facts: Facts) -> None:
        """Raise ValueError where the stage left it by other options. facts: those that these alone decide."""
        before = self.recorded
        self.refuse_others(_made_of(before), _made_of({**before, **known_to(before, facts)}))

    def refuse_others(self, before: Facts, now: Facts) -> None:
        """Raise ValueError where what it was made of is not what it would be made of now."""
        removed = removal([self.path, self.stage], made_of(self.stage.name, self.path.parent))
        remedy = f"set these back, {removed}, or choose another --run.output_dir"
        if self.stage.name == "teacher":
            steps = f", which was trained for {counted(before['steps'], 'step')}," if "steps" in before else ""
            remedy += f" (there, --teacher.model {self.path} takes this teacher{steps} as it is)"
        options = deciding_options(SECTIONS[self.stage.name])
        told = without_followers(before, now)
        refuse_differences(f"{self.path} was made otherwise", *told, remedy, options=options)

    def make(self, trainees: Trainees, best: Best | None, facts: Facts, world: World) -> None:
        mark = {_MADE_OF: json.dumps(_made_of(facts), indent=2, sort_keys=True) + "\n"}
        if best:
            world.first(lambda: _publish_copy(best.folder, self.path, mark))
        else:
            from megatinybert.training.export import export_student

            export_student(trainees.only, self.path, self.tokenizer, world, mark)


def _made_of(facts: Facts) -> dict[str, Any]:
    """Where a stage runs is not what its result is made of; its batch is there by the name of its own option."""
    return {key: value for key, value in facts.items() if key not in {*PLACEMENT, "run.global_batch"}}


def _record_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _MADE_OF).read_text(encoding="utf-8"))
    return found


def _publish_copy(best: Path, product: Path, files: Mapping[str, str]) -> None:
    temporary = product.with_name(f".{product.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(best, temporary)
    for name, text in files.items():
        (temporary / name).write_text(text, encoding="utf-8")
    publish_folder(temporary, product)
