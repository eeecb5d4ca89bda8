"""Which step students that train together continue from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints.checkpoint import name_of, save
from megatinybert.training.checkpoints.family import check_one_student, where_all_continue

NAMES = ["a", "b"]


def write(output: Path, **steps: list[int]) -> None:
    """Checkpoints of members, and what the run's config.yaml says of their names."""
    for name, own in steps.items():
        for step in own:
            save(output / name / "checkpoints", Trainees({}), step, {}, World(0, 1, torch.device("cpu")), keep=9)
    students = "".join(f"- name: {name}\n" for name in steps)
    (output / "config.yaml").write_text(f"students:\n{students}")


def test_the_newest_step_that_all_have_whole(tmp_path: Path) -> None:
    assert where_all_continue(tmp_path, "auto", NAMES) == ({"a": "auto", "b": "auto"}, [])
    write(tmp_path, a=[10, 20, 30], b=[10, 20])
    found, passed_over = where_all_continue(tmp_path, "auto", NAMES)
    assert found == {name: str(tmp_path / name / "checkpoints" / name_of(20)) for name in NAMES}
    assert passed_over == ["not all students have a whole checkpoint of step 30 (b: has none)"]
    (tmp_path / "b" / "checkpoints" / name_of(20) / "state.json").unlink()
    found, passed_over = where_all_continue(tmp_path, "auto", NAMES)
    assert found["a"].endswith(name_of(10)) and "step 20 (b: state.json cannot be read" in passed_over[1]


def test_a_run_killed_between_two_names_of_one_step(tmp_path: Path) -> None:
    """All were written whole before the first had its name."""
    write(tmp_path, a=[10, 20], b=[10, 20])
    published = tmp_path / "b" / "checkpoints" / name_of(20)
    published.rename(published.with_name(f"{published.name}.tmp"))
    found, passed_over = where_all_continue(tmp_path, "auto", NAMES)
    assert found["a"].endswith(name_of(20)) and found["b"].endswith(f"{name_of(20)}.tmp") and passed_over == []
    (tmp_path / "b" / "checkpoints" / f"{name_of(20)}.tmp" / "state.json").unlink()  # it was killed while writing
    assert where_all_continue(tmp_path, "auto", NAMES)[0]["b"].endswith(name_of(10))


def test_a_step_that_is_named(tmp_path: Path) -> None:
    write(tmp_path, a=[10, 20], b=[10, 20])
    asked = str(tmp_path / "b" / "checkpoints" / name_of(10))
    found, _ = where_all_continue(tmp_path / "new", asked, NAMES)
    assert found == {"a": asked.replace("/b/", "/a/"), "b": asked}
    never = {"a": "never", "b": "never"}  # each member then refuses its own
    assert where_all_continue(tmp_path, "never", NAMES) == (never, [])


def test_no_common_step_is_no_new_run(tmp_path: Path) -> None:
    write(tmp_path, a=[20], b=[10])
    with pytest.raises(ValueError, match="no step that all students have whole") as caught:
        where_all_continue(tmp_path, "auto", NAMES)
    assert "step 20 (b: has none)" in str(caught.value) and "step 10 (a: has none)" in str(caught.value)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "c"]])
def test_other_students_than_the_run_began_with(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, a=[10], b=[10])
    with pytest.raises(ValueError, match=f"began with a, b, and now there are {', '.join(names)}"):
        where_all_continue(tmp_path, "auto", names)
    assert where_all_continue(tmp_path, "auto", ["b", "a"])[0]["a"].endswith(name_of(10))


def test_a_run_of_one_and_a_run_of_several_share_no_folder(tmp_path: Path) -> None:
    check_one_student(tmp_path)
    write(tmp_path / "several", a=[10], b=[10])
    with pytest.raises(ValueError, match=r"holds a run of several students \(a, b\)"):
        check_one_student(tmp_path / "several")
    save(tmp_path / "one" / "checkpoints", Trainees({}), 10, {}, World(0, 1, torch.device("cpu")), keep=9)
    with pytest.raises(ValueError, match="holds a run of one student"):
        where_all_continue(tmp_path / "one", "auto", NAMES)
