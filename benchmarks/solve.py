"""What solving gives before the first step, by student, tokens, seed, teacher and text.

    python benchmarks/solve.py --teacher FOLDER --shards FOLDER [--students 3L-312 ...] [--tokens 32768 ...]
                               [--seeds 0 ...] [--calibration FOLDER] [--random-teacher] [--sts-b dev.tsv] [--json FILE]

Each case has a process of its own, so that its peak memory is its own. docs/solved-students.md explains the columns.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch

from benchmarks.measure import environment
from benchmarks.memory import peak_growth

_LOSSES = ("attention", "hidden", "embedding", "probe")


@dataclass(frozen=True)
class Case:
    """One student. tokens: to solve it on; 0: random weights. shards: text that is held out, and solved on but for
    `calibration`. sts_b: its development rows, or none."""

    teacher: str
    shards: str
    student: str
    tokens: int
    seed: int
    length: int
    layer_map: str = "uniform"
    calibration: str = ""
    sts_b: str = ""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure students that are solved from their teacher, before training."
    )
    parser.add_argument("--teacher", required=True, metavar="FOLDER", help="a BERT folder")
    parser.add_argument("--shards", required=True, metavar="FOLDER", help="of data_prep/build_shards.py")
    parser.add_argument("--students", nargs="+", default=["3L-312"], help="shapes or folders (default: 3L-312)")
    parser.add_argument(
        "--tokens", nargs="+", type=int, default=[0, 32768], help="to solve on; 0: random weights (default: 0 32768)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="(default: 0)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window (default: 128)")
    parser.add_argument("--layer-map", default="uniform", help="as --objective.layer_map (default: uniform)")
    parser.add_argument("--calibration", default="", metavar="FOLDER", help="shards to solve on (default: --shards)")
    parser.add_argument("--random-teacher", action="store_true", help="random weights in the teacher's shape")
    parser.add_argument("--sts-b", default="", metavar="FILE", help="dev.tsv, for the correlation by cosine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    result: dict[str, Any] = {"environment": environment(torch.device("cpu")), "cases": []}
    with tempfile.TemporaryDirectory(prefix="solve-benchmark-") as folder:
        teacher = random_teacher(options.teacher, Path(folder)) if options.random_teacher else options.teacher
        for student, tokens, seed in itertools.product(options.students, options.tokens, options.seeds):
            fixed = options.length, options.layer_map, options.calibration, options.sts_b
            case = Case(teacher, options.shards, student, tokens, seed, *fixed)
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                result["cases"].append({**asdict(case), **pool.submit(measure, case).result()})
            print(line(result["cases"][-1]), flush=True)
    print(table(result))
    if options.json:
        from megatinybert.runtime.files import write_atomically

        write_atomically(options.json, json.dumps(result, indent=1) + "\n")


def measure(case: Case) -> dict[str, Any]:
    """Solve and measure one student: its held-out losses with all weights 1, probe, seconds, peak bytes, STS-B."""
    from megatinybert.runtime import dist

    world = dist.start()  # before whatever imports DeepSpeed
    from megatinybert.programs.distil import open_family, silence_transformers
    from megatinybert.runtime.findings import Findings
    from megatinybert.runtime.trainees import Trainees
    from megatinybert.training.engine import build_engine
    from megatinybert.training.solve.calibration import CUT, ROWS, Calibration
    from megatinybert.training.solve.first import solve_first_weights
    from megatinybert.training.stage import STUDENT

    silence_transformers()
    try:
        family = open_family(config_of(case, case.shards), world, findings := Findings())
        world.refuse(findings.texts("fail"))
        assert family and family.teacher
        stage = family.first
        found: dict[str, Any] = {}
        stage.trainee.to(world.device)
        if case.tokens:
            source = open_family(config_of(case, case.calibration), world, findings) if case.calibration else family
            assert source
            calibration = Calibration(source.first.data, case.tokens, case.length, ROWS, world, CUT)
            solutions = []
            solve = partial(solve_first_weights, stage.trainee, family.teacher, calibration, case.seed, world)
            memory_bytes = peak_growth(lambda: solutions.append(solve()), world.device)
            (solution,) = solutions
            found = {
                "solved_on": solution.tokens,
                "seconds": solution.seconds,
                "errors": solution.errors,
                "kept": solution.kept,
                "memory_bytes": memory_bytes,
            }
        engine = build_engine(stage.trainee, stage.config.optimizer, stage.settings)
        found |= stage.measure(Trainees({STUDENT: engine}), world)
        if case.sts_b:
            found["sts_b"] = sts_b(stage.trainee.student, case.teacher, Path(case.sts_b))
    finally:
        dist.stop()
    return found


def config_of(case: Case, shards: str) -> Any:
    from megatinybert.config.load import load_config

    options = {
        "teacher.model": case.teacher,
        "student.config": case.student,
        "student.init": "solved" if case.tokens else "random",
        "data.shards": shards,
        "objective.layer_map": case.layer_map,
        "data.sequence_length": case.length,
        "run.seed": case.seed,
        "run.output_dir": str(Path(tempfile.gettempdir()) / "solve-benchmark-writes-nothing"),
        "run.global_batch": 16,
        "deepspeed": "zero1",
    }
    return load_config([f"--{name}={value}" for name, value in options.items()])


def random_teacher(like: str, folder: Path) -> str:
    """A teacher of the same shape and tokenizer, with the weights of a beginner."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig.from_pretrained(like)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like, trust_remote_code=False).save_pretrained(folder)
    return str(folder)


def sts_b(student: Any, tokenizer: str, file: Path) -> float:
    """Spearman correlation of STS-B's scores with the cosine of mean last hidden states."""
    from scipy.stats import spearmanr

    from megatinybert.corpus.tokenizer import load_tokenizer
    from megatinybert.programs.embed import mean_vectors, read_texts
    from megatinybert.runtime.progress_bar import progress_bar

    reader = load_tokenizer(tokenizer)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    student.eval()
    with progress_bar(None, "text", disable=True) as bar:
        first, second = (
            mean_vectors(student, read_texts([row[column] for row in rows], reader), student.device, bar)
            for column in ("sentence1", "sentence2")
        )
    similarity = torch.nn.functional.cosine_similarity(first, second)
    return float(spearmanr(similarity.numpy(), [float(row["score"]) for row in rows]).statistic)


def line(case: dict[str, Any]) -> str:
    values = [case["student"], f"{case.get('solved_on', 0):,}", str(case["seed"])]
    values.append(f"{sum(case[f'held_out/{name}'] for name in _LOSSES[:3]):.3f}")
    values += [f"{case[f'held_out/{name}']:.{4 if name == 'embedding' else 3}f}" for name in _LOSSES]
    values.append(f"{case['sts_b']:.3f}" if "sts_b" in case else "-")
    values.append(f"{case['seconds']:.0f}" if "seconds" in case else "-")
    values.append(f"{case['memory_bytes'] / 2**20:,.0f}" if "memory_bytes" in case else "-")
    return f"| {' | '.join(values)} |"


def table(result: dict[str, Any]) -> str:
    head = ("student", "solved on", "seed", "total", *_LOSSES, "STS-B", "seconds", "MiB")
    about = "\n".join(f"- {name}: {value}" for name, value in result["environment"].items())
    rows = "\n".join(line(case) for case in result["cases"])
    return f"{about}\n\n| {' | '.join(head)} |\n| --- | --- |{' ---: |' * (len(head) - 2)}\n{rows}"


if __name__ == "__main__":
    main()
