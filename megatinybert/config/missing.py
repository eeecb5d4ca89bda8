"""What is wrong with a path that an option names, seen by a look at the disk alone.

Programs look before anything heavy is imported, and what opens the path later says the same. Looks are by os.path, as
those of pathlib raise OSError for a name that is too long to be one.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable
from pathlib import Path

from megatinybert.config.nearest import closest, nearest, only_alike
from megatinybert.config.run_folder import is_begun, is_run, several_students

RESUME = ("auto", "never")  # what --run.resume says where it names no checkpoint
_OF_A_MODEL = ("config.json", "bert_config.json", "student", "adapter_config.json")  # one of them at least


def is_path(name: str) -> bool:
    """Whether the name of a model is a path: there, or written in a way that no name on the hub is."""
    return os.path.exists(Path(name).expanduser()) or name.startswith(("/", ".", "~")) or name.count("/") > 1


def missing_folder(name: str) -> str:
    """What is wrong with a name that can only be a folder's: "" where it is one, or may be a name on the hub."""
    folder = Path(name).expanduser()
    if os.path.exists(folder) or not (is_path(name) or ("/" in name and os.path.isdir(folder.parent))):
        return ""
    above = next(parent for parent in folder.parents if os.path.exists(parent))
    below = folder.parts[len(above.parts)]
    meant = nearest_file(below, [path.name for path in above.iterdir()] if above.is_dir() else [])
    return "no such folder" + (f"; did you mean {above / meant}?" if meant and meant != below else "")


def meant_beside(path: Path) -> str:
    """What a path that is not there may have meant, as a message's end; "" where nothing is alike."""
    path = path.expanduser()
    meant = None if os.path.exists(path) else meant_path(path)
    return f"; did you mean {meant}?" if meant else ""


def meant_path(path: Path) -> Path | None:
    """The path with what is called nearly so in place of each part that is not there; None where nothing is alike."""
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        try:
            meant = part if os.path.exists(found / part) else nearest_file(part, os.listdir(found))
        except (OSError, ValueError):  # no folder, or none to look into
            meant = None
        if meant is None:
            return None
        found /= meant
    return found


def nearest_file(name: str, names: Iterable[str]) -> str | None:
    """The name of a file or folder that was probably meant. That both end with .txt makes them no closer."""
    suffix = Path(name).suffix

    def own(other: str) -> tuple[str, str]:
        alike = bool(suffix) and other.endswith(suffix)
        return (other.removesuffix(suffix), name.removesuffix(suffix)) if alike else (other, name)

    names = list(names)
    return closest(names, own) or only_alike(names, own)


def missing_model(option: str, name: str) -> str:
    """The refusal of a model's folder that is not there, is a file (which a shape may be), is that of a run that has
    not ended, or has a broken config.json; "" where it is none of these, or the name may be one on the hub.
    """
    path = Path(name).expanduser()
    if os.path.isfile(path) and option != "--student.config":
        return f"{option} {name} is a file: name its folder, {path.parent}"
    of_run = option != "--student.init" and is_run(path)  # by that option its student is taken
    if of_run or (os.path.isdir(path) and not any(os.path.exists(path / file) for file in _OF_A_MODEL)):
        return _without_model(option, name, path)
    file = path if os.path.isfile(path) else path / "config.json"
    if broken := _no_object(file):
        return f"{option} {name}: cannot read a model configuration there: {file} {broken}"
    problem = missing_folder(name)
    return f"{option} {name}: cannot read a model configuration there: {problem}" if problem else ""


def _no_object(path: Path) -> str:
    """What is wrong with a file that is to hold a JSON object; "" where it is not there, or cannot be opened."""
    try:
        content = json.loads(path.read_bytes())
    except OSError:
        return ""
    except ValueError as error:
        return f"is not valid JSON: {error}"
    return "" if isinstance(content, dict) else "holds no JSON object"


def _without_model(option: str, name: str, folder: Path) -> str:
    if several := several_students(folder):
        return f"{option} {name} {several}"
    within = sorted(file.parent.name for file in folder.glob("*/config.json"))
    if is_run(folder) and within:
        models = " or ".join(str(Path(name) / each) for each in within)
        return f"{option} {name}: the output folder of a run; name a model in it: {models}"
    if is_begun(folder):
        return f"{option} {name}: that run has left no student yet; let it end (the same command continues)"
    meant = f", but one in {Path(name) / within[0]}" if len(within) == 1 else ""
    return f"{option} {name} holds no model: there is no config.json in it{meant}"


def missing_student(output: str) -> str:
    """The refusal to read the student of a task whose folder holds none yet; else ""."""
    student = Path(output) / "student"
    if os.path.isdir(student):
        return ""
    return f"{student} is not there yet: run stage two first, or name a model with --predict.model"


def missing_tokenizer(name: str) -> str:
    """The same of a tokenizer's folder."""
    problem = missing_folder(name)
    return f"cannot load the tokenizer {name}: {problem}" if problem else ""


def missing_text(option: str, entry: str) -> str:
    """The refusal of a file or folder of text that is not there, or of a pattern that nothing matches; else ""."""
    if os.path.exists(entry) or not glob.has_magic(entry):
        return missing_file(option, Path(entry))
    if next(glob.iglob(entry, recursive=True), None):
        return ""
    folder, pattern = os.path.split(entry)
    meant = None if glob.has_magic(folder) or os.path.isdir(folder) else meant_path(Path(folder))
    hint = f"; did you mean {meant / pattern}?" if meant and next(meant.glob(pattern), None) else ""
    return f"{option} {entry}: no file matches this pattern{hint}"


def missing_file(option: str, path: Path) -> str:
    """The refusal of a file or folder that is not there; else ""."""
    return "" if os.path.exists(path) else f"{option} {path}: no such file or folder{meant_beside(path)}"


def missing_shards(prefix: Path) -> str:
    """The refusal of shards where `prefix` is neither a folder nor names a .bin and an .idx file; else ""."""
    if os.path.isdir(prefix):
        return ""
    for suffix in (".bin", ".idx"):
        path = prefix.with_name(prefix.name + suffix)
        if not os.path.isfile(path):
            with_suffix = prefix.suffix in (".bin", ".idx")
            absent = "no such file; data_prep/build_shards.py makes shards of text"
            hint = "give the prefix, without .bin or .idx" if with_suffix else absent
            return f"{prefix} is neither a folder of shards nor the prefix of a dataset ({path}: {hint})"
    return ""


def missing_checkpoint(name: str) -> str:
    """The refusal of a --run.resume whose state.json, which is written last, is not there; else ""."""
    meant = None if is_path(name) else nearest(name, RESUME)
    if meant:
        return f"--run.resume {name}: no such folder; did you mean {meant}?"
    try:
        with (Path(name) / "state.json").open("rb"):
            return ""
    except (OSError, ValueError) as error:
        return f"--run.resume {name} is not a whole checkpoint: state.json cannot be read: {error}"


def never_again(output: str) -> str:
    """The refusal of --run.resume never where the output folder holds checkpoints."""
    return (
        f"--run.resume never, but {output} already holds a run: choose another --run.output_dir, or continue it with "
        "--run.resume auto"
    )


def missing_data_dir(option: str, folder: Path) -> str:
    """The refusal of a task's folder that is not there; else ""."""
    if os.path.isfile(folder):
        return f"{option} {folder} is a file: name its folder, {folder.parent}"
    return "" if os.path.isdir(folder) else f"{option} {folder}: no such folder{meant_beside(folder)}"


def unreadable_file(option: str, path: Path) -> str:
    """The refusal of a file that is not there or cannot be read; else ""."""
    try:
        with path.open("rb"):
            return ""
    except (OSError, ValueError) as error:
        return f"{option} {path}: cannot be read: {reason(error)}{meant_beside(path)}"


def reason(error: OSError | ValueError) -> str:
    """What a file could not be opened for; ValueError is raised for a name with a zero byte."""
    return getattr(error, "strerror", None) or str(error)


def unusable_output(folder: Path) -> str:
    """The refusal of an output folder that nothing can be written to, or that cannot be made; else ""."""
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # such as a name that is too long
        return f"--run.output_dir {folder}: {reason(error)}; name another"
    existing = nearest_existing(folder)
    if not os.path.isdir(existing):
        return f"--run.output_dir {folder}: {existing} is a file, not a folder; name another"
    if not os.access(existing, os.W_OK | os.X_OK):
        return f"--run.output_dir {folder}: {existing} cannot be written to; name another, or change its permissions"
    return ""


def nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))
