"""Batch, passes and learning rate by the size of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import load_config
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints.checkpoint import save
from megatinybert.training.size import check_size, check_steps_done, draft, settle
from tests.helpers.messages import assert_says


def given(tmp_path: Path, *options: str) -> GeneralConfig:
    return load_config(["--teacher.model", "t", "--data.shards", "s", "--run.output_dir", str(tmp_path), *options])


@pytest.mark.parametrize(
    ("windows", "width", "passes", "batch", "steps", "rate"),
    [
        (170, 312, 10, 16, 107, 1e-3),  # 0.1 MB of English
        (1_000, 312, 5, 16, 313, 1e-3),
        (1_700, 312, 3, 16, 319, 1e-3),  # 1 MB
        (17_000, 312, 3, 32, 1_594, 1e-3),  # 10 MB
        (170_000, 312, 3, 256, 1_993, 1e-3),  # 100 MB
        (17_000_000, 312, 3, 256, 199_219, 2.2e-4),  # 10 GB
        (17_000_000, 768, 3, 256, 199_219, 1.1e-4),
    ],
)
def test_what_is_left_open_follows_the_text(
    tmp_path: Path, windows: int, width: int, passes: int, batch: int, steps: int, rate: float
) -> None:
    size = settle(given(tmp_path), windows, width, 1)
    run = size.config.run
    assert (run.epochs, run.global_batch, size.steps) == (passes, batch, steps)
    assert size.config.optimizer.learning_rate == rate
    assert len(size.reasons) == 3 and not [
        f for f in check_size({"": size}, windows, 10**6, {"": width}, 1) if f.level != "ok"
    ]


def test_what_is_given_stays(tmp_path: Path) -> None:
    options = ("--run.epochs", "2", "--run.global_batch", "48", "--optimizer.learning_rate", "3e-5")
    size = settle(given(tmp_path, *options), 4_800, 312, 1)
    assert (size.config.run.epochs, size.config.run.global_batch, size.steps) == (2, 48, 200)
    assert size.config.optimizer.learning_rate == 3e-5 and size.reasons == []


def test_steps_that_are_given_decide_the_batch_by_the_passes(tmp_path: Path) -> None:
    def batch(steps: int, windows: int) -> int:
        size = settle(given(tmp_path, "--run.max_steps", str(steps)), windows, 312, 1)
        assert size.steps == steps
        return size.config.run.global_batch

    assert (batch(1_000, 1_700), batch(1_000, 17_000), batch(1_000, 170_000)) == (16, 32, 256)
    assert batch(300, 1_700) == 16


def test_a_batch_grows_with_the_steps_that_are_given(tmp_path: Path) -> None:
    """By powers of two: a step more never makes a run 16 times as long."""
    sizes = [
        settle(given(tmp_path, "--run.max_steps", str(steps)), 170_000, 312, 1)
        for steps in (5, 49, 50, 124, 125, 249, 250, 499, 500, 999, 1_000)
    ]
    assert [size.config.run.global_batch for size in sizes] == [16, 16, 16, 16, 32, 32, 64, 64, 128, 128, 256]
    assert [size.reasons[0] for size in (sizes[1], sizes[-1])] == [
        "--run.global_batch 16, as 49 steps are few: it grows with them, up to 256 at 1,000",
        "--run.global_batch 256, the largest by default",
    ]


def test_half_as_much_text_again_never_more_than_doubles_the_batch(tmp_path: Path) -> None:
    batch = 16
    for windows in (1_700 * 2**power + more for power in range(10) for more in (0, 850 * 2**power)):
        size = settle(given(tmp_path), windows, 312, 1)
        assert batch <= size.config.run.global_batch <= 2 * batch
        batch = size.config.run.global_batch
        assert size.steps >= 1_000 or batch == 16
    assert batch == 256


def test_the_batch_is_shared_by_all_ranks_in_whole_micro_batches(tmp_path: Path) -> None:
    config = given(tmp_path, "--run.micro_batch", "5")
    size = settle(config, 1_700, 312, 3)
    assert size.config.run.global_batch == 30 and draft(config, 3).run.global_batch == 270
    assert "raised to 30 to be shared by 3 ranks" in " ".join(size.reasons)


def test_masked_language_modelling_keeps_its_rate(tmp_path: Path) -> None:
    mlm = ("--objective.name", "mlm", "--teacher.tokenizer", "t", "--teacher.model", "null")
    assert settle(given(tmp_path, *mlm), 17_000, 312, 1).config.optimizer.learning_rate == 1e-4


def test_a_run_too_short_to_teach_anything_is_told_with_better_numbers(tmp_path: Path) -> None:
    present = ("--run.epochs", "3", "--run.global_batch", "256", "--optimizer.learning_rate", "1e-4")
    size = settle(given(tmp_path, *present), 7_900, 312, 1)
    (warning,) = check_size({"": size}, 7_900, 10**6, {"": 312}, 1)
    assert warning.level == "warn"
    advice = "--run.epochs 3 --run.global_batch 16 --optimizer.learning_rate 0.001"
    assert_says(warning.text, "93 steps", "0.0001", advice, "1,482 steps")
    better = settle(given(tmp_path, *advice.split()), 7_900, 312, 1)
    assert check_size({"": better}, 7_900, 10**6, {"": 312}, 1) == []


def test_a_number_of_steps_that_is_too_small_is_not_told_beside_defaults_that_go_without_it(tmp_path: Path) -> None:
    size = settle(given(tmp_path, "--run.max_steps", "20"), 7_900, 312, 1)
    assert size.config.run.global_batch == 16
    (warning,) = (finding for finding in check_size({"": size}, 7_900, 10**6, {"": 312}, 1) if finding.level == "warn")
    advice = "--run.max_steps null --run.epochs 3 --run.global_batch 16 --optimizer.learning_rate 0.001"
    assert_says(warning.text, f"; {advice} (the defaults for this text) make 1,482 steps")
    pasted = given(tmp_path, "--run.max_steps", "20", *advice.split())  # behind the command as it was
    assert settle(pasted, 7_900, 312, 1).steps == 1_482


def test_that_few_steps_at_a_high_rate_may_spoil_what_was_solved_is_told(tmp_path: Path) -> None:
    for init, rate, told in (("solved", "1e-3", True), ("solved", "1e-4", False), ("random", "1e-3", False)):
        options = ("--run.max_steps", "20", "--student.init", init, "--optimizer.learning_rate", rate)
        size = settle(given(tmp_path, *options), 7_900, 312, 1)
        (warning,) = check_size({"": size}, 7_900, 10**6, {"": 312}, 1)
        assert ("a student that was solved may end worse than it began" in warning.text) == told


def test_of_several_students_it_is_told_once_by_their_own_keys(tmp_path: Path) -> None:
    steps = ("--run.max_steps", "20", "--run.global_batch", "16")
    sizes = {
        name: settle(given(tmp_path, *steps, "--optimizer.learning_rate", rate), 7_900, width, 1)
        for name, rate, width in (("small", "1e-4", 312), ("large", "2e-4", 768), ("fast", "1", 312))
    }
    widths = {"small": 312, "large": 768, "fast": 312}
    (warning,) = check_size(sizes, 7_900, 10**6, widths, 1)
    assert_says(
        warning.text,
        "20 steps at learning rates of up to 0.0001 (small), 0.0002 (large) are too few",
        "--run.epochs 3 --run.global_batch 16 and, in the entries of students, optimizer.learning_rate 0.001 (small)",
    )
    assert "--optimizer.learning_rate" not in warning.text and "fast" not in warning.text
    same = {name: sizes["small"] for name in ("one", "two")}  # by the run's own option
    (warning,) = check_size(same, 7_900, 10**6, dict.fromkeys(same, 312), 1)
    assert "--optimizer.learning_rate 0.001 (" in warning.text and "one" not in warning.text


def test_too_little_text_is_told(tmp_path: Path) -> None:
    size = settle(given(tmp_path), 20, 312, 1)
    short, little = (
        finding.text for finding in check_size({"": size}, 20, 2_560, {"": 312}, 1) if finding.level == "warn"
    )
    assert_says(short, "13 steps", "add text")
    assert_says(little, "2,560 tokens", "200,000")


@pytest.mark.parametrize(
    ("options", "windows", "tokens", "advice"),
    [
        (("--run.max_steps", "20"), 1_700, 217_600, ": raise --run.max_steps 20 to 500 or more"),
        (("--run.max_steps", "20"), 20, 2_560, ": raise --run.max_steps 20 to 500 or more"),
        ((), 1_700, 217_600, ": raise --run.epochs above 3, or add text"),
        ((), 20, 2_560, ": add text; 200,000 tokens or more,"),
    ],
)
def test_where_the_defaults_are_too_few_steps_too_the_option_that_limits_is_named(
    tmp_path: Path, options: tuple[str, ...], windows: int, tokens: int, advice: str
) -> None:
    """As they are of masked-language modelling, whose learning rate is low."""
    mlm = ("--objective.name", "mlm", "--student.init", "random", "--student.config", "4L-312")
    size = settle(given(tmp_path, *mlm, *options), windows, 312, 1)
    short = check_size({"": size}, windows, tokens, {"": 312}, 1)[0].text
    assert f"are too few to learn much{advice}" in short
    assert ("add text" in short) == (not options)


def test_a_run_that_is_continued_goes_on_as_it_began(tmp_path: Path) -> None:
    """Also one of an earlier version, whose defaults were others."""
    save(tmp_path / "checkpoints", Trainees({}), 12, {}, World(0, 1, torch.device("cpu")), keep=1)
    (tmp_path / "config.yaml").write_text(
        "run: {epochs: 4.0, global_batch: 256}\noptimizer: {learning_rate: 0.0001}\nenvironment: {git: abc}\n"
    )
    size = settle(given(tmp_path), 17_000, 312, 1)
    assert (size.config.run.epochs, size.config.run.global_batch, size.steps) == (4, 256, 266)
    assert size.config.optimizer.learning_rate == 1e-4
    assert size.reasons[0].endswith("--optimizer.learning_rate 0.0001, as in its newest checkpoint")
    assert settle(given(tmp_path, "--run.epochs", "2"), 17_000, 312, 1).steps == 133
    check_steps_done(size.config.run, 12)
    with pytest.raises(ValueError, match=r"--run\.max_steps 5: .*step-00000012 has 12 steps behind it, more than 5"):
        check_steps_done(settle(given(tmp_path, "--run.max_steps", "5"), 17_000, 312, 1).config.run, 5)
