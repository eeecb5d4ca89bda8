"""The benchmarks measure what they say: the comparison is the published loss, counts and clocks are right."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import scores
from benchmarks.literal import literal_loss
from benchmarks.measure import WARM_UP, interleave
from benchmarks.memory import peak_growth
from benchmarks.variants import Floor
from megatinybert.capture import Features
from megatinybert.general_schema import ObjectiveConfig
from megatinybert.objectives.tinybert import TinyBert
from tests.objectives.test_tinybert import batch, models, published_loss
from tests.toys import REPOSITORY, bert_config, environment, write_student_shape, write_teacher

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
    floor = Floor(ObjectiveConfig(), student, teacher, (2, 3))
    assert floor.teacher_layers == TinyBert(ObjectiveConfig(), student, teacher).teacher_layers
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
    tiny = ("--length", "16", "--micro-batch", "2", "--repeats", "2", "--compile", "never")
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
