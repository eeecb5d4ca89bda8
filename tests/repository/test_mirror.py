"""tests/ mirrors megatinybert/: what tests a module stands where the module does, under its name."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.toys import REPOSITORY

TESTS = REPOSITORY / "tests"
# Folders whose files are not of one module each.
WHOLE = {
    "programs": "whole programs, in processes of their own",
    "cluster": "runs on several nodes",
    "repository": "pages, launch files, recipes, data_prep/collect_docs.py and the tests themselves",
    "benchmarks": "the scripts in benchmarks/",
}
# Files of a claim that several modules keep together.
ACROSS_MODULES = {
    "corpus/test_hostile.py": "no hostile or damaged file ends a process: shards, manifest, windows",
    "corpus/test_formats.py": "the same text gives the same shards from every format: build, sources, streams, parquet",
    "training/solve/test_memory.py": "memory is flat in the tokens: calibration, moments, student",
    "training/test_devices.py": "no pass of a step waits for the device: capture, objectives, held_out, trainee, loop",
}


def module_of(test: Path) -> Path:
    """The module that a test file is named after. test: below tests/."""
    return REPOSITORY / "megatinybert" / test.parent / f"{test.stem.removeprefix('test_')}.py"


def test_every_file_of_tests_is_named_after_a_module() -> None:
    files = [path.relative_to(TESTS) for path in TESTS.rglob("test_*.py")]
    assert len(files) > 50
    of_modules = [path for path in files if path.parts[0] not in WHOLE]
    without_module = {str(path) for path in of_modules if not module_of(path).is_file()}
    assert without_module == set(ACROSS_MODULES)


def test_every_folder_with_an_exception_is_there() -> None:
    assert all((TESTS / name).is_dir() for name in WHOLE)
