"""The parts of benchmarks/gpu.sh that are no command of their own; each prints Markdown.

    python benchmarks/gpu.py {prepare,tests,solve,distil,quantized} FOLDER [--dry-run]

FOLDER: the inputs, which `prepare` writes: teacher/, student/ and corpus. --dry-run: tiny ones, for a CPU. Exit code 1
where something is not as it should be, with the reason on stderr.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
import transformers

from benchmarks.job import write_corpus
from benchmarks.measure import environment, interleave
from benchmarks.memory import peak_growth
from megatinybert.config.load import load_config
from megatinybert.config.schema import Quantize
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.models.capture import Features
from megatinybert.models.compiled import compiler_problem
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import build_student, load_teacher
from megatinybert.models.quantize import quantize_problem
from megatinybert.runtime.devices import choose_accelerator
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import seconds_of
from megatinybert.runtime.versions import PACKAGES, check_versions
from megatinybert.samples.batches import as_tensors
from megatinybert.samples.windows import TokenStream, Windows
from megatinybert.training.solve.calibration import CUT, ROWS, Calibration
from megatinybert.training.solve.first import solve_first_weights
from megatinybert.training.solve.student import Solution, solve_student
from megatinybert.training.trainee import build_trainee

_REPOSITORY = Path(__file__).resolve().parents[1]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Random weights larger than BERT's first ones, with which layers would change next to nothing.
_TEACHER: dict[str, Any] = {"initializer_range": 0.05}
# The solved student of this teacher on a GPU has the errors of the CPU's, but for rounding.
_SMALL: dict[str, Any] = {"vocab_size": 1000, "num_attention_heads": 4, "initializer_range": 0.2}
_STEPS = 60  # of a run


@dataclass(frozen=True)
class Sizes:
    """teacher: settings of its shape beside _TEACHER. student: a shipped shape, or settings. windows: of a step, and of
    a teacher's pass. solve: tokens."""

    teacher: dict[str, int] = field(default_factory=dict)
    student: str | dict[str, int] = "4L-312"
    length: int = 128
    windows: int = 256
    solve: tuple[int, ...] = (32_768, 262_144)


_FULL = Sizes()  # a BERT-base
_DRY = Sizes(
    teacher=dict(vocab_size=500, hidden_size=48, num_hidden_layers=4, num_attention_heads=4, intermediate_size=96),
    student=dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
    length=16,
    windows=32,
    solve=(1000, 4000),
)


def main(arguments: list[str] | None = None) -> None:
    parts = {"prepare": prepare, "tests": tests, "solve": solve, "distil": distil, "quantized": quantized}
    parser = argparse.ArgumentParser(description="One part of benchmarks/gpu.sh.")
    parser.add_argument("part", choices=parts)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, for a CPU")
    options = parser.parse_args(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    parts[options.part](options.folder, _DRY if options.dry_run else _FULL)


def prepare(folder: Path, sizes: Sizes) -> None:
    """Write the inputs; print what they will be used on."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**_TEACHER, **sizes.teacher)
    transformers.BertModel(config).save_pretrained(folder / "teacher")
    words = [*_SPECIAL, *(f"w{number}" for number in range(config.vocab_size - len(_SPECIAL)))]
    (folder / "teacher" / "vocab.txt").write_text("\n".join(words) + "\n")
    if isinstance(sizes.student, dict):
        transformers.BertConfig(**{**sizes.teacher, **sizes.student}).save_pretrained(folder / "student")
    write_corpus(folder / "corpus", config.vocab_size, 12 * max(sizes.solve))
    device = choose_accelerator()
    about = environment(device, [name for name in PACKAGES if importlib.util.find_spec(name)])
    del about["command"]  # it is that of gpu.sh
    about["commit"] = os.environ.get("COMMIT") or about["commit"]
    about["date"] = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if device.type == "cuda":
        about["driver"] = _driver()
    lines = [f"{name}: {value}" for name, value in about.items()]
    lines += [f"{finding.level}: {finding.text}" for finding in check_versions() if finding.level != "ok"]
    print("\n".join(f"- {line}" for line in lines))


def tests(folder: Path, sizes: Sizes) -> None:
    """All tests with the mark gpu."""
    report = folder / "tests.xml"
    files = [path for path in sorted((_REPOSITORY / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", f"--junit-xml={report}", *map(str, files)]
    done = subprocess.run(command, cwd=_REPOSITORY, stdout=sys.stderr, check=False)
    if not report.exists():
        sys.exit(f"pytest ended with exit code {done.returncode} and wrote no report")
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    print(f"- {total - failures - errors - skipped} passed, {failures + errors} failed, {skipped} skipped")
    for case in suite.iter("testcase"):
        for found in case:
            if found.tag in ("failure", "error", "skipped"):
                reason = (found.get("message") or "").partition("\n")[0]
                print(f"- {found.tag}: `{case.get('classname')}::{case.get('name')}`: {reason}")
    sys.exit(done.returncode)


def solve(folder: Path, sizes: Sizes) -> None:
    """Time and memory of solving, and whether this device finds what the CPU finds."""
    device = choose_accelerator()
    here, on_cpu = (small_errors(folder, each) for each in (device, torch.device("cpu")))  # the first warms up too
    difference = max(abs(one - other) / other for one, other in zip(here, on_cpu, strict=True))
    world = World(0, 1, device)
    print("| student | tokens | seconds | peak memory beyond the models, MiB | errors of its states |")
    print("|---|---|---|---|---|")
    for tokens in sizes.solve:
        student, solution, seconds, grown = _solved(folder, sizes, tokens, world)
        name = f"{student.num_hidden_layers}L-{student.hidden_size}"
        errors = ", ".join(f"{error:.4f}" for error in solution.errors)
        print(f"| {name} | {solution.tokens:,} | {seconds:.2f} | {grown / 2**20:,.0f} | {errors} |")
    print(f"\nThe errors of a small student on {device.type} and on the CPU differ by {difference:.1e} at most.")
    if not difference < 0.01:
        sys.exit(f"the errors of a small student are {here} on {device.type}, and {on_cpu} on the CPU")


def _solved(folder: Path, sizes: Sizes, tokens: int, world: World) -> tuple[Any, Solution, float, int]:
    """From the teacher in bfloat16: (the student's configuration, the solution, seconds, bytes beyond both models)."""
    teacher_config = read_bert_config(str(folder / "teacher"), "--teacher")
    data = _windows(folder / "corpus", teacher_config.vocab_size, sizes.length)
    config = load_config([f"--{name}={value}" for name, value in _options(folder, sizes).items()])
    trainee = build_trainee(config, teacher_config).to(world.device)
    layers = trainee.objective.teacher_layers
    teacher = load_teacher(str(folder / "teacher"), layers, torch.bfloat16, world.device)
    solutions, seconds = [], []

    def solve_once() -> None:
        calibration = Calibration(data, tokens, sizes.length, ROWS, world, CUT)
        solutions.append(solve_first_weights(trainee, teacher, calibration, 0, world))

    grown = peak_growth(lambda: seconds.append(seconds_of(solve_once, world.device)), world.device)
    return trainee.student.config, solutions[0], seconds[0], grown


def small_errors(folder: Path, device: torch.device) -> list[float]:
    """Errors of the states of a small student, solved on a device in float32."""
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 256}
    teacher = build_student(transformers.BertConfig(**_SMALL, **shape)).eval().to(device)
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 192}
    student = build_student(transformers.BertConfig(**_SMALL, **shape)).to(device)
    write_corpus(folder / "small", _SMALL["vocab_size"], 40_000)
    world = World(0, 1, device)
    rows = Calibration(_windows(folder / "small", _SMALL["vocab_size"], 32), 8000, 32, 16, world)
    return solve_student(student, teacher, [1, 3], rows, 0, world).errors


def distil(folder: Path, sizes: Sizes, quantize: Quantize = "none", init: str = "random") -> None:
    """A run of one rank: without 8 bits by the launcher, where it works. A random student's loss has to fall."""
    output = folder / f"run-{quantize}"
    options = _options(folder, sizes) | {
        "teacher.quantize": quantize,
        "student.init": init,
        **({"student.solve_tokens": sizes.solve[0]} if init == "solved" else {}),
        "data.held_out_windows": 32,
        "optimizer.learning_rate": 1e-3,
        "run.output_dir": output,
        "run.global_batch": sizes.windows,
        "run.micro_batch": sizes.windows,
        "run.max_steps": _STEPS,
        "run.compile": "never",
        "run.log_interval": 5,
        "run.held_out_interval": _STEPS,
        "monitor.attention_interval": 0,
        "deepspeed": "zero1-autocast" if torch.cuda.is_available() else "zero1",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    launcher = ["deepspeed.launcher.runner", "--num_accelerators", "1", "--master_port", port, "launch/general.sh"]
    ways = {"the deepspeed launcher": launcher, "python -m": ["megatinybert.general"]}
    if quantize != "none":
        del ways["the deepspeed launcher"]
    for name, module in ways.items():
        code, said = _run([*module, *(f"--{name}={value}" for name, value in options.items())])
        print(f"- by {name}: {'ok' if code == 0 else f'exit code {code}'}")
        if code == 0:
            break
    else:
        sys.exit("no run came to its end")
    print("".join(f"- {line}" for line in said if line.startswith(("student:", "teacher ", "kernels:"))), end="")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    first, *_, last = [row["held_out/total"] for row in rows if "held_out/total" in row]
    speeds = [row["speed/tokens_per_second"] for row in rows if "speed/tokens_per_second" in row]
    print(f"- held-out total {first:.4f} before and {last:.4f} after {_STEPS} steps; {speeds[-1]:,.0f} tokens/s")
    if not math.isfinite(last) or (init == "random" and last >= first):
        sys.exit(f"held-out total: {first}, then {last}")


def _run(module: list[str]) -> tuple[int, list[str]]:
    """Run python -m: (exit code, the lines that it said), which go to stderr as they come."""
    variables = {**os.environ, "PYTHONPATH": f"{_REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command, said = [sys.executable, "-m", *module], []
    with subprocess.Popen(
        command, cwd=_REPOSITORY, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            sys.stderr.write(line)
            said.append(line)
    return process.returncode, said


def quantized(folder: Path, sizes: Sizes) -> None:
    """A teacher in 8 bits: its time, its errors against float32, and a run that learns from it."""
    device = choose_accelerator()
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = read_bert_config(str(folder / "teacher"), "--teacher")
    layers, data = config.num_hidden_layers, _windows(folder / "corpus", config.vocab_size, sizes.length)
    batch = as_tensors(data.batch(torch.arange(sizes.windows).numpy()), device)
    kinds: tuple[Quantize, ...] = ("none", "int8", "fp8")
    compiled = device.type == "cuda" and compiler_problem(1, device) is None
    exact = load_teacher(str(folder / "teacher"), layers, torch.float32, device).features(batch)
    tokens, usable = batch["input_ids"].numel(), kinds[0]
    print(f"A pass of {tokens:,} tokens{', compiled' if compiled else ''}; largest relative error of a layer.\n")
    print("| products | ms | tokens/s | hidden states | queries | keys |\n|---|---|---|---|---|---|")
    for kind in kinds:
        problem = quantize_problem(kind, device, dtype)
        if problem:
            print(f"| {kind} | | | {problem} | | |")
            continue
        teacher = load_teacher(str(folder / "teacher"), layers, dtype, device, kind)
        if compiled:
            teacher.compile_passes(batch["input_ids"].shape)
        errors = " | ".join(f"{error:.2%}" for error in largest_errors(teacher.features(batch), exact))
        seconds = interleave({kind: functools.partial(teacher.features, batch)}, 10, device)[kind].median
        name = str(dtype).removeprefix("torch.") if kind == "none" else kind
        print(f"| {name} | {seconds * 1000:.2f} | {tokens / seconds:,.0f} | {errors} |")
        usable = kind
    print(f"\nA run with --teacher.quantize {usable}, from solved weights:\n")
    distil(folder, sizes, usable, "solved")


def largest_errors(found: Features, exact: Features) -> list[float]:
    """Of hidden states, queries and keys: norm of the difference over the norm, of the worst layer."""

    def largest(name: str) -> float:
        pairs = zip(getattr(found, name), getattr(exact, name), strict=True)
        return max(float((one.float() - other).norm() / other.norm()) for one, other in pairs)

    return [largest(name) for name in ("hidden_states", "queries", "keys")]


def _options(folder: Path, sizes: Sizes) -> dict[str, Any]:
    return {
        "teacher.model": folder / "teacher",
        "student.config": sizes.student if isinstance(sizes.student, str) else folder / "student",
        "data.shards": folder / "corpus",
        "data.sequence_length": sizes.length,
    }


def _windows(corpus: Path, vocab_size: int, length: int) -> Windows:
    special = SpecialIds(cls=2, sep=3, pad=0, mask=4, vocab_size=vocab_size)
    return Windows(TokenStream(open_corpus(str(corpus)).shards), length, special, vocab_size, 0.5, seed=0)


def _driver() -> str:
    asked = "nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1"
    driver = subprocess.run(asked, shell=True, capture_output=True, text=True, check=False).stdout.strip()
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return f"{driver or 'unknown'}, CUDA {torch.version.cuda}, NCCL {nccl}"


if __name__ == "__main__":
    main()
