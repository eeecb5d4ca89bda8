"""Stages that are killed and started again end as if nothing had happened; two ranks come to what one does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from megatinybert.runtime.dist import World
from megatinybert.training.checkpoints import checkpoint
from tests.helpers.processes import exit_codes, kill_at_step, start
from tests.helpers.task_toys import command, options, run
from tests.helpers.toys import free_port, metrics

# The action that does a stage, and the folder that the stage leaves.
STAGES = {
    "teacher": ("teacher", "teacher"),
    "mlm": ("augment", "mlm"),
    "one": ("one", "student-one"),
    "two": ("two", "student"),
}


class Kill(NamedTuple):
    """logged: the last step in the stage's metrics when it was killed; saved: the newest whole checkpoint then."""

    logged: int
    saved: Path | None


@pytest.fixture(scope="module")
def killed(task_inputs: Path, world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Kill]]:
    """A task whose every training stage was killed -9 under `all`, and then done to its end: the output folder."""
    folder = tmp_path_factory.mktemp("killed")
    output = folder / "task"
    given = options(task_inputs, "singles", output)
    kills = {}
    for stage, (action, product) in STAGES.items():
        process = start(command("all", given), folder / f"{stage}.log")
        logged = kill_at_step(process, output / "stages" / stage, 7)
        kills[stage] = Kill(logged, checkpoint.newest(output / "stages" / stage / "checkpoints")[0])
        assert not (output / product).exists()  # it was killed before the end of the stage
        run(action, given, world)
    run("eval", given, world)
    return output, kills


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_as_an_uninterrupted_one(
    stage: str, killed: tuple[Path, dict[str, Kill]], done_task: Path
) -> None:
    """Weights, configuration, tokenizer and the choice of the best step, byte for byte; and the same metrics."""
    output, kills = killed
    saved = kills[stage].saved
    assert saved is not None and 5 <= int(saved.name[-8:]) < kills[stage].logged < 30
    product = STAGES[stage][1]
    names = sorted(path.name for path in (done_task / product).iterdir())
    assert sorted(path.name for path in (output / product).iterdir()) == names
    assert {"config.json", "model.safetensors", "stage.json", "tokenizer.json"} <= set(names)
    assert ("best.json" in names) == (stage in ("teacher", "two"))
    for name in names:
        assert (output / product / name).read_bytes() == (done_task / product / name).read_bytes(), name
    rows = [
        [
            {tag: value for tag, value in row.items() if not tag.startswith(("speed/", "time/", "memory/"))}
            for row in metrics(folder / "stages" / stage)
        ]
        for folder in (output, done_task)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 31


def test_the_rest_is_the_same_too(killed: tuple[Path, dict[str, Kill]], done_task: Path) -> None:
    output, _ = killed
    assert (output / "augmented" / "train.jsonl").read_bytes() == (done_task / "augmented" / "train.jsonl").read_bytes()
    assert (output / "confusion.png").read_bytes() == (done_task / "confusion.png").read_bytes()
    found, expected = (json.loads((folder / "results.json").read_text()) for folder in (output, done_task))
    assert [found[name]["dev"] for name in ("teacher", "student")] == [
        expected[name]["dev"] for name in ("teacher", "student")
    ]


def test_what_an_abandoned_attempt_found_best_does_not_count(
    task_inputs: Path, done_task: Path, world: World, tmp_path: Path
) -> None:
    """It was killed before its first checkpoint, and may have had other options."""
    best = shutil.copytree(done_task / "stages" / "teacher" / "best", tmp_path / "task" / "stages" / "teacher" / "best")
    (best / "best.json").write_text(json.dumps({"step": 99, "measured": "dev/score", "value": 2.0}))
    run(
        "teacher",
        options(task_inputs, "singles", tmp_path / "task", **{"finetune.max_steps": 3, "task.force": True}),
        world,
    )
    found = json.loads((tmp_path / "task" / "teacher" / "best.json").read_text())
    assert found["step"] == 3 and found["value"] <= 1


@pytest.mark.slow
def test_two_ranks_of_the_launcher_come_to_what_one_does(
    task_inputs: Path, done_task: Path, world: World, tmp_path: Path
) -> None:
    """The same global and micro batches, so one rank accumulates over two and two ranks over one."""
    outputs = [tmp_path / "one", tmp_path / "two"]
    given = [options(task_inputs, "singles", output, **{"two.max_steps": 6}) for output in outputs]
    for output in outputs:
        shutil.copytree(done_task, output, ignore=shutil.ignore_patterns("two", "student", "checkpoints"))
    run("two", given[0], world)
    launcher = ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port())]
    process = start([*launcher, "launch/task.sh", "two", *given[1]], tmp_path / "log", DS_ACCELERATOR="cpu")
    codes, log = exit_codes([process]), (tmp_path / "log").read_text()
    assert codes == [0], log
    assert log.count("steps: 0 done of 6") == 1  # rank 0 alone speaks
    rows = [metrics(output / "stages" / "two") for output in outputs]
    for tag in ("loss/total", "optimizer/gradient_norm"):
        assert [row[tag] for row in rows[1][1:]] == pytest.approx([row[tag] for row in rows[0][1:]], rel=1e-4)
    measured = [[{t: v for t, v in row.items() if t.startswith(("dev/", "held_out/"))} for row in own] for own in rows]
    for found, expected in zip(measured[1], measured[0], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    one, two = (load_file(output / "student" / "model.safetensors") for output in outputs)
    start_from = load_file(done_task / "student-one" / "model.safetensors")
    assert any(not torch.equal(weight, start_from[name[5:]]) for name, weight in one.items() if name[5:] in start_from)
    for name, weight in one.items():
        # AdamW turns rounding of gradients that are nearly zero, as of the keys' biases, into steps.
        torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4, msg=name)
