"""The benchmarks measure what they say: the comparison is the published loss, counts and clocks are right."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from benchmarks import attention, growth, phases, scaling, scores
from benchmarks.literal import literal_loss
from benchmarks.measure import WARM_UP, interleave
from benchmarks.memory import peak_growth
from benchmarks.variants import Floor
from megatinybert.config.general import ObjectiveConfig
from megatinybert.models.capture import Features
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.training.trainee import Trainee
from tests.helpers.published_loss import batch, models, published_loss
from tests.helpers.toys import REPOSITORY, bert_config, environment, write_student_shape, write_teacher

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("projection", ["shared", "per-layer"])
def test_literal_loss_is_the_published_one(padded: bool, projection: str) -> None:
    trainee, _, teacher = models(projection)
    inputs = batch(padded)
    ours = literal_loss(trainee.student, trainee.objective, teacher.eval(), inputs)
    published = published_loss(trainee, teacher, inputs)
    assert float(ours.detach()) == pytest.approx(float(published.detach()), rel=1e-6)
    gradients = (torch.autograd.grad(loss, list(trainee.parameters())) for loss in (ours, published))
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6 * float(b.abs().max()))


def test_the_gradient_of_the_floor_is_its_fixed_tensor() -> None:
    student, teacher = bert_config(layers=2, hidden=12), bert_config(layers=4)
    product = Trainee(BertModel(student), TinyBert(ObjectiveConfig(), student, teacher))
    floor = Floor(product, (2, 3))
    assert floor.teacher_layers == product.objective.teacher_layers and floor.wanted == product.objective.wanted
    states = torch.randn(2, 3, 12, requires_grad=True)
    (loss,) = floor(Features(hidden_states=[states]), Features(), None)
    loss.backward()
    assert torch.equal(states.grad, floor.direction_BSD)
    assert len(floor.terms) == 1 and not list(floor.parameters()) and not floor.state_dict()


def test_repetitions_are_interleaved() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = interleave(functions, repeats=3, device=CPU)
    assert "".join(calls[3 * WARM_UP :]) == "abcbcacab"
    assert {name: len(spent.seconds) for name, spent in times.items()} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_counts_the_peak_of_the_function_alone() -> None:
    mebibyte = 2**20
    earlier = np.ones(300 * mebibyte, dtype=np.uint8)
    del earlier  # a peak from before must not count
    growth = peak_growth(lambda: np.ones(100 * mebibyte, dtype=np.uint8).sum(), CPU)
    assert 95 * mebibyte < growth < 130 * mebibyte


def test_scores_times_both_forms() -> None:
    literal, gram = scores.measure(2, 256, 4, 4, torch.float32, CPU, repeats=5)
    assert 0 < gram < literal, "at 32 times the joined width the Gram form is far ahead"


def test_attention_times_both_precisions() -> None:
    assert all(seconds > 0 for seconds in attention.measure(1, 16, 6, repeats=2))


def test_phases_are_put_end_to_end(golden_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "phases.png"
    phases.main([str(golden_run), str(golden_run), "--figure", str(figure)])
    measured = phases.measurements(golden_run)
    lines = capsys.readouterr().out.splitlines()
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(lines) == 2 + 1 + len(measured) and len(measured) > 2
    last = measured[-1]
    tokens = last["step"] * 48 * 16  # windows of a step, tokens of a window
    assert lines[2].startswith(f"| phase 1, {tokens / 1e6:.2f} M | {last['held_out/total']:.4g} |")
    assert lines[-1].startswith(f"| phase 2, {2 * tokens / 1e6:.2f} M | {last['held_out/total']:.4g} |")


def step_results(length: int, micro_batch: int, timed: bool, student: str = "4L-312") -> dict[str, Any]:
    """Results as step.py writes them, with a speed and a memory that follow the length."""
    job = {"length": length, "micro_batch": micro_batch, "student": student, "deepspeed": "zero1", "compile": "always"}
    results: dict[str, Any] = {
        "environment": {"hardware": "some"},
        "job": {**job, "quantize": "none"},
        "memory_bytes": {"literal": 3 * length * 2**20, "step": length * 2**20},
    }
    if timed:
        speeds = {"literal": 1e6 / (2 * length), "eager": 1.0, "step": 1e6 / length, "floor": 2e6 / length}
        results |= {"seconds": {}, "tokens_per_second": speeds}
    return results


def test_growth_has_a_row_for_each_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Times of all results that have them, memory of those of one window."""
    given = [step_results(512, 8, True), step_results(2048, 1, False), step_results(128, 32, True)]
    files = [tmp_path / f"{number}.json" for number in range(len(given))]
    for file, results in zip(files, given, strict=True):
        file.write_text(json.dumps(results))
    figure = tmp_path / "growth.png"
    growth.main([*map(str, files), "--figure", str(figure)])
    assert figure.read_bytes().startswith(b"\x89PNG")
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        "| 128 | 256 | 128 | 64 |  |  |",
        "| 512 | 1,024 | 512 | 256 |  |  |",
        "| 2,048 |  |  |  | 6,144 | 2,048 |",
    ]
    files[0].write_text(json.dumps(step_results(512, 8, True, student="6L-768")))
    with pytest.raises(SystemExit):
        growth.main(list(map(str, files)))
    assert "the results differ in student: 4L-312 and 6L-768" in capsys.readouterr().err


def run_step(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    teacher, shape = write_teacher(folder / "teacher"), write_student_shape(folder / "shape")
    command = [sys.executable, "benchmarks/step.py", "--teacher", str(teacher), "--student", str(shape)]
    return subprocess.run(
        [*command, *options],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_step_measures_everything(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    tiny = ("--length", "16", "--micro-batch", "2", "--repeats", "2", "--compile", "never", "--quantize", "int8")
    done = run_step(tmp_path, *tiny, "--json", str(report))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(report.read_text())
    median = results["median_seconds"]
    assert all(len(results["seconds"][name]) == 2 for name in ("literal", "eager", "step", "floor"))
    assert median["step"] == pytest.approx(np.median(results["seconds"]["step"]))
    assert results["speedup_over_literal"] == pytest.approx(median["literal"] / median["step"])
    assert results["step_over_floor"] == pytest.approx(median["step"] / median["floor"])
    assert results["tokens_per_second"]["step"] == pytest.approx(32 / median["step"])
    fastest = max(results["peak_flops_per_second"].values())
    assert results["utilisation"] == pytest.approx(results["flops"] / median["step"] / fastest)
    assert results["peak_memory_bytes"] == results["memory_bytes"]["step"] > 0
    assert set(results["split_seconds"]) == {"data", "teacher", "student", "objective", "optimizer"}
    assert "benchmarks/step.py --teacher" in results["environment"]["command"]
    for text in ("| literal |", "| eager |", "| step |", "| floor |", "speed-up over literal", "split of a step"):
        assert text in done.stdout


def test_a_window_longer_than_the_teacher_takes_is_refused(tmp_path: Path) -> None:
    done = run_step(tmp_path, "--length", "65")
    assert done.returncode == 2
    assert "--length 65 is more than the 64 positions" in done.stderr and "Traceback" not in done.stderr


def test_scaling_takes_medians_after_the_first_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    launched: list[scaling.Setup] = []

    def launch(setup: scaling.Setup, recipe: dict[str, object], output: Path) -> list[dict[str, float]]:
        launched.append(setup)
        rate = 100.0 * setup.ranks * setup.threads
        speeds = [1.0] * 5 + [rate, rate, 9000.0]
        return [
            {"step": step, "speed/tokens_per_second": speed, "loss/total": 0.5} for step, speed in enumerate(speeds, 1)
        ]

    monkeypatch.setattr(scaling, "_launch", launch)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)), raising=False)
    report = tmp_path / "report.json"
    scaling.main(["--ranks", "3", "--global-batch", "6", "--steps", "8", "--repeats", "2", "--json", str(report)])
    one, several, cores = (scaling.Setup(*both) for both in ((1, 1), (3, 1), (1, 4)))
    assert launched == [one, several, cores, several, cores, one]
    results = json.loads(report.read_text())
    assert results["median_tokens_per_second"] == {str(one): 100, str(several): 300, str(cores): 400}
    assert results["several_over_one"] == 3 and results["several_over_all_cores"] == 0.75
    assert all(len(speeds) == 6 for speeds in results["tokens_per_second"].values())
    assert results["tokens_of_a_step"] == 6 * 128


def test_scaling_launches_runs_that_do_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)  # so one rank is run once
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    report = tmp_path / "report.json"
    scaling.main(["--length", "16", "--global-batch", "4", "--steps", "7", "--json", str(report)])
    results = json.loads(report.read_text())
    assert {setup: len(speeds) for setup, speeds in results["tokens_per_second"].items()} == {
        "1 rank of 1 thread": 2,
        "2 ranks of 1 thread": 2,
    }
    one, two = results["last_loss"].values()
    assert one == pytest.approx(two, rel=1e-4)
