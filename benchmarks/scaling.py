"""How much faster two ranks are than one, on CPUs: whole runs by the launcher, on the same global batch.

    python benchmarks/scaling.py [--ranks 2] [--teacher FOLDER] [--student SHAPE] [--length 128] [--global-batch 32]
        [--steps 20] [--repeats 1] [--json FILE]

Compared are one rank of one thread, `--ranks` ranks of one thread each, and one rank with a thread for every core. Each
run is a `deepspeed` launch of launch/general.sh; its speed is the median of what metrics.jsonl says of the steps after
the first ones. Ranks should be no more than cores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
import transformers

from benchmarks.job import write_corpus
from benchmarks.measure import Times, environment, turns
from megatinybert.models.configuration import read_bert_config
from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.workers import usable_cores

_REPOSITORY = Path(__file__).resolve().parents[1]
_WARM_UP_STEPS = 5
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_VOCABULARY = 1000  # of the small teacher


@dataclass(frozen=True)
class Setup:
    ranks: int
    threads: int

    def __str__(self) -> str:
        return f"{self.ranks} {_plural('rank', self.ranks)} of {self.threads} {_plural('thread', self.threads)}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time one rank and several on the same global batch.")
    parser.add_argument("--ranks", type=int, default=2, help="to compare with one (default: 2)")
    parser.add_argument("--teacher", metavar="FOLDER", help="a BERT folder (default: a small one of random weights)")
    parser.add_argument(
        "--student", metavar="SHAPE", help="a shipped shape or a folder (default: half the small teacher)"
    )
    parser.add_argument("--length", type=int, default=128, help="tokens of a window (default: 128)")
    parser.add_argument("--global-batch", type=int, default=32, help="windows of a step (default: 32)")
    parser.add_argument("--steps", type=int, default=20, help=f"of each run, the first {_WARM_UP_STEPS} not timed")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    options = parser.parse_args(arguments)
    for name, least in (("ranks", 2), ("length", 8), ("steps", _WARM_UP_STEPS + 1), ("repeats", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: must be at least {least}")
    if options.global_batch % options.ranks:
        parser.error(f"--global-batch {options.global_batch}: must be a multiple of --ranks {options.ranks}")
    if options.teacher and not options.student:
        parser.error("--teacher: name a --student with it")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    results = run(options)
    print(table(results))
    if options.json:
        write_atomically(options.json, json.dumps(results, indent=1) + "\n")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure. Raises RuntimeError with what a run said that failed."""
    cores = usable_cores()
    setups = list(dict.fromkeys([Setup(1, 1), Setup(options.ranks, 1), Setup(1, cores)]))
    about = environment(torch.device("cpu"))
    speeds: dict[str, list[float]] = {str(setup): [] for setup in setups}
    losses: dict[str, float] = {}
    by_name = {str(setup): setup for setup in setups}
    with tempfile.TemporaryDirectory(prefix="scaling-benchmark-") as name:
        folder = Path(name)
        recipe = _recipe(options, folder)
        for number, setup in enumerate(turns(list(speeds), options.repeats)):
            rows = _launch(by_name[setup], recipe, folder / f"run-{number}")
            speeds[setup] += [row["speed/tokens_per_second"] for row in rows if row["step"] > _WARM_UP_STEPS]
            losses[setup] = rows[-1]["loss/total"]
    one, several, all_cores = (Times(speeds[str(s)]).median for s in (setups[0], setups[1], setups[-1]))
    return {
        "environment": about,
        "ranks": options.ranks,
        "tokens_of_a_step": options.global_batch * options.length,
        "several_over_one": several / one,
        "several_over_all_cores": several / all_cores,
        "median_tokens_per_second": {setup: Times(rates).median for setup, rates in speeds.items()},
        "spread": {setup: Times(rates).spread for setup, rates in speeds.items()},
        "last_loss": losses,
        "tokens_per_second": speeds,
    }


def _recipe(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Make what is not given: the options of the runs."""
    teacher, student = options.teacher, options.student
    if not teacher:
        teacher = folder / "teacher"
        torch.manual_seed(0)
        transformers.BertModel(_small(256, layers=4, length=options.length)).save_pretrained(teacher)
        words = [*_SPECIAL, *(f"w{number}" for number in range(_VOCABULARY - len(_SPECIAL)))]
        (teacher / "vocab.txt").write_text("\n".join(words) + "\n")
    if not student:
        student = folder / "student"
        _small(128, layers=2, length=options.length).save_pretrained(student)
    windows = options.global_batch * 8
    vocabulary = read_bert_config(str(teacher), "--teacher").vocab_size
    return {
        "teacher.model": teacher,
        "student.config": student,
        "data.shards": write_corpus(folder / "corpus", vocabulary, windows * options.length),
        "data.sequence_length": options.length,
        "data.held_out_windows": 8,
        "run.global_batch": options.global_batch,
        "run.micro_batch": options.global_batch // options.ranks,  # the same for one rank and for several
        "run.max_steps": options.steps,
        "run.log_interval": 1,
        "run.held_out_interval": options.steps,
        "monitor.attention_interval": 0,
        "deepspeed": "zero1",
    }


def _small(hidden: int, layers: int, length: int) -> transformers.BertConfig:
    return transformers.BertConfig(
        vocab_size=_VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * hidden,
        max_position_embeddings=length,
    )


def _launch(setup: Setup, recipe: dict[str, object], output: Path) -> list[dict[str, float]]:
    """One run: what it logged of its steps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tools = Path(sys.executable).parent
    options = [f"--{name}={value}" for name, value in {**recipe, "run.output_dir": output}.items()]
    launcher = [str(tools / "deepspeed"), "--num_accelerators", str(setup.ranks), "--master_port", str(port)]
    variables = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(setup.threads),
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [*launcher, "launch/general.sh", *options],
        cwd=_REPOSITORY,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the run of {setup} failed:\n{done.stdout}{done.stderr}")
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "speed/tokens_per_second" in row]


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines += [
        f"- steps of {results['tokens_of_a_step']:,} tokens",
        "",
        "| | tokens/s | spread | last loss |",
        "|---|---|---|---|",
    ]
    for setup, speed in results["median_tokens_per_second"].items():
        lines.append(f"| {setup} | {speed:,.0f} | {results['spread'][setup]:.0%} | {results['last_loss'][setup]:.6f} |")
    lines += [
        "",
        f"- {results['ranks']} ranks over one of one thread {results['several_over_one']:.2f}, over one with all cores "
        f"{results['several_over_all_cores']:.2f}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
