"""What several students of one teacher pass cost, against each of them alone.

    python benchmarks/family.py --teacher FOLDER --shards FOLDER [--students 4L-312 3L-312 2L-192] [--steps 40]
        [--batch 64] [--random base|large]

Runs of general distillation, each a process: every student alone, then all together. Each is run twice, with a few
steps and with `--steps` more; what the second takes beyond the first is of the steps, without start-up, measurements
and export. Told are CPU seconds, which other work on the machine changes little, and wall time. --random: a teacher of
random weights in the shape of BERT-base or BERT-large, with the other's tokenizer, since time does not depend on the
values.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
import yaml

from benchmarks.measure import environment
from megatinybert.runtime.text_table import format_table

_REPOSITORY = Path(__file__).resolve().parents[1]
_FEW_STEPS = 3
_TOGETHER = "together"
_SHAPES: dict[str, dict[str, int]] = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}


@dataclass(frozen=True)
class Spent:
    """Seconds of a step: on the CPUs, and by the clock."""

    cpu: float
    wall: float


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="family-benchmark-") as folder:
        teacher = options.teacher
        if options.random:
            teacher = random_teacher(options.teacher, options.random, Path(folder) / "teacher")
        shapes = {Path(name).name.lower(): shape(name) for name in options.students}
        students = [{"name": name, "student": {"config": config}} for name, config in shapes.items()]
        (Path(folder) / "students.yaml").write_text(yaml.safe_dump(students))
        common = [
            *(
                "--teacher.model",
                str(Path(teacher).resolve()),
                "--data.shards",
                str(Path(options.shards).resolve()),
                "--student.init",
                "random",
            ),
            *("--run.global_batch", str(options.batch), "--data.held_out_windows", "16", "--run.compile", "never"),
            *(
                "--run.save_interval",
                "1000000",
                "--monitor.attention_interval",
                "0",
                "--optimizer.learning_rate",
                "1e-4",
            ),
        ]
        cases = {name: ["--student.config", config] for name, config in shapes.items()}
        cases[_TOGETHER] = ["--students", str(Path(folder) / "students.yaml")]
        found = {}
        for name, own in cases.items():
            found[name] = of_a_step([*common, *own], options.steps, Path(folder) / name)
            print(f"{name}: {found[name].cpu:.2f} s of CPU and {found[name].wall:.2f} s a step", flush=True)
    print(json.dumps(environment(torch.device("cpu")), indent=1))
    print(table(found))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, metavar="FOLDER", help="a BERT folder")
    parser.add_argument("--shards", required=True, metavar="FOLDER", help="of its tokenizer")
    parser.add_argument(
        "--students", nargs="+", default=["4L-312", "3L-312", "2L-192"], help="shapes, or their folders"
    )
    parser.add_argument("--steps", type=int, default=40, help="that are measured (default: 40)")
    parser.add_argument("--batch", type=int, default=64, help="windows of a step (default: 64)")
    parser.add_argument("--random", choices=sorted(_SHAPES), help="random weights in this BERT's shape")
    return parser.parse_args(arguments)


def shape(student: str) -> str:
    """A shipped shape's name, or a folder, wherever the runs start."""
    return str(Path(student).resolve()) if Path(student).exists() else student


def random_teacher(like: str, shape: str, folder: Path) -> str:
    """A teacher in a BERT's shape, with the tokenizer of `like`."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=BertConfig.from_pretrained(like).vocab_size, **_SHAPES[shape])).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(like, trust_remote_code=False).save_pretrained(folder)
    return str(folder)


def of_a_step(options: list[str], steps: int, folder: Path) -> Spent:
    short, long = (run(options, count, folder) for count in (_FEW_STEPS, _FEW_STEPS + steps))
    return Spent((long.cpu - short.cpu) / steps, (long.wall - short.wall) / steps)


def run(options: list[str], steps: int, folder: Path) -> Spent:
    """Of a whole run of so many steps."""
    more = ["--run.max_steps", str(steps), "--run.output_dir", str(folder / str(steps))]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "megatinybert.general", *options, *more],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def table(found: dict[str, Spent]) -> str:
    """A row for each run; shares of the dearest student alone."""
    alone = {name: spent for name, spent in found.items() if name != _TOGETHER}
    dearest = max(alone.values(), key=lambda spent: spent.cpu)
    rows = [("", "CPU s a step", "of the dearest alone", "wall s a step", "of the dearest alone")]
    every = {
        **found,
        "one after the other": Spent(*(sum(getattr(s, k) for s in alone.values()) for k in ("cpu", "wall"))),
    }
    for name, spent in every.items():
        shares = f"{spent.cpu / dearest.cpu:.2f}", f"{spent.wall / dearest.wall:.2f}"
        rows.append((name, f"{spent.cpu:.2f}", shares[0], f"{spent.wall:.2f}", shares[1]))
    return format_table(rows, right_aligned=range(1, 5))


if __name__ == "__main__":
    main()
