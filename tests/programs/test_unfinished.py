"""A folder that is not that of a finished run is told for what it is."""

from __future__ import annotations

from pathlib import Path

from megatinybert.programs.unfinished import not_a_run


def test_a_folder_is_told_for_what_it_is(tmp_path: Path) -> None:
    run = tmp_path / "first"
    assert not_a_run(tmp_path / "frist", "config.yaml") == f"{tmp_path / 'frist'}: no such folder"
    (run / "student").mkdir(parents=True)
    assert not_a_run(tmp_path / "frist", "config.yaml").endswith(f"no such folder; did you mean {run}?")
    assert not_a_run(run, "config.yaml") == (
        f"{run} is not the output folder of a run: it holds no config.yaml. That is what --run.output_dir named"
    )
    (run / ".lock").touch()  # which a run that is stopped early leaves alone
    assert not_a_run(run, "config.yaml") == (
        f"{run} is of a run that has not made its first step: it holds no config.yaml. There is no checkpoint to "
        "continue from: the same training command starts anew."
    )
    (run / "config.yaml").touch()
    assert not_a_run(run / "student", "config.yaml").endswith(f"in the output folder of a run: name {run}")
