"""Time and memory of one training step, against the published one and against its own floor.

    python benchmarks/step.py [--length 128] [--micro-batch 32] [--student 4L-312] [--json FILE]

What is compared, and how to read the numbers: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
import transformers

from benchmarks.job import Job, write_corpus, write_teacher
from benchmarks.measure import Times, environment, interleave, native_dtypes
from benchmarks.memory import step_memory
from megatinybert.config.schema import Quantize, shipped_students
from megatinybert.models.compiled import compiler_problem
from megatinybert.models.configuration import read_bert_config
from megatinybert.runtime import dist
from megatinybert.runtime.devices import choose_accelerator
from megatinybert.runtime.hardware import large_product

# Tokens of a micro batch where --micro-batch is not given: a GPU needs more to be busy.
_TOKENS = {"cpu": 4096, "cuda": 65536}
_WITH_MEMORY = ("literal", "step")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measure one training step: its time, its memory, and what the hardware could do."
    )
    parser.add_argument("--length", type=int, default=128, help="tokens of a window (default: 128)")
    parser.add_argument(
        "--micro-batch",
        type=int,
        metavar="WINDOWS",
        help=f"windows of a step (default: {_TOKENS['cpu']:,} tokens' worth; {_TOKENS['cuda']:,} on a GPU)",
    )
    parser.add_argument(
        "--student", default="4L-312", help=f"{', '.join(shipped_students())}, or a folder (default: 4L-312)"
    )
    parser.add_argument("--teacher", metavar="FOLDER", help="a BERT folder (default: a BERT-base of random weights)")
    parser.add_argument(
        "--deepspeed",
        metavar="CONFIG",
        help="DeepSpeed configuration (default: zero1-autocast; zero1 on a CPU without bfloat16)",
    )
    parser.add_argument(
        "--compile",
        choices=("always", "never"),
        help="torch.compile of step and floor (default: always; never where there is no C++ compiler)",
    )
    parser.add_argument(
        "--quantize",
        choices=get_args(Quantize),
        default="none",
        help="products of the teacher of step and floor (default: none)",
    )
    parser.add_argument("--repeats", type=int, default=10, help="timed steps of each kind (default: 10)")
    parser.add_argument("--memory-only", action="store_true", help="measure memory and no time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    options = parser.parse_args(arguments)
    for name in ("micro_batch", "repeats"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least 1")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="step-benchmark-") as folder:
        try:
            results = run(options, Path(folder))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
    print(table(results))
    if options.json:
        from megatinybert.runtime.files import write_atomically

        write_atomically(options.json, json.dumps(results, indent=1) + "\n")


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure; folder: takes the inputs. Raises ValueError where the options do not fit together."""
    device = choose_accelerator()
    teacher = options.teacher or write_teacher(folder / "teacher", options.length)
    micro_batch = options.micro_batch or max(_TOKENS[device.type] // options.length, 1)
    vocabulary = read_bert_config(teacher, "--teacher").vocab_size
    corpus = write_corpus(folder / "corpus", vocabulary, tokens=16 * micro_batch * options.length)
    deepspeed = options.deepspeed or ("zero1-autocast" if len(native_dtypes(device)) > 1 else "zero1")
    compiles = options.compile or ("never" if compiler_problem(1, device) else "always")
    job = Job(teacher, corpus, options.student, options.length, micro_batch, deepspeed, compiles, options.quantize)
    job.check()
    results: dict[str, Any] = {"environment": environment(device), "job": asdict(job)}
    # Memory first: each measurement has a process of its own, and this one holds nothing yet.
    results["memory_bytes"] = {name: step_memory(job, name) for name in _WITH_MEMORY}
    results["peak_memory_bytes"] = results["memory_bytes"]["step"]
    if not options.memory_only:
        results |= _times(job, options.repeats)
    return results


def _times(job: Job, repeats: int) -> dict[str, Any]:
    world = dist.start()  # before whatever imports DeepSpeed
    from benchmarks.variants import Bench

    try:
        bench = Bench(job, world)
        step, floor = bench.step(), bench.floor()
        steps: dict[str, Callable[[], None]] = {
            "literal": bench.literal(),
            "eager": bench.eager(),
            "step": step,
            "floor": floor,
        }
        products = {_name(dtype): large_product(dtype, world.device) for dtype in native_dtypes(world.device)}
        times = interleave({**steps, **products}, repeats, world.device)
        stages = [step.stages() for _ in range(repeats)]
        flops = bench.flops()
    finally:
        dist.stop()
    median = {name: spent.median for name, spent in times.items()}
    peaks = {name: product.flops / median[name] for name, product in products.items()}
    return {
        "speedup_over_literal": median["literal"] / median["step"],
        "step_over_floor": median["step"] / median["floor"],
        "utilisation": flops / median["step"] / max(peaks.values()),
        "literal_over_eager": median["literal"] / median["eager"],
        "teacher_dtype": _name(bench.teacher_dtype),
        "precision": bench.settings.precision,
        "flops": flops,
        "peak_flops_per_second": peaks,
        "tokens_per_second": {name: job.tokens / median[name] for name in steps},
        "split_seconds": _split(stages),
        "median_seconds": median,
        "spread": {name: spent.spread for name, spent in times.items()},
        "seconds": {name: spent.seconds for name, spent in times.items()},
    }


def _split(stages: list[dict[str, float]]) -> dict[str, float]:
    return {part: Times([stage[part] for stage in stages]).median for part in stages[0]}


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    job, memory = results["job"], results["memory_bytes"]
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines.append(
        f"- step: {job['micro_batch']} windows of {job['length']} tokens, student {job['student']}, "
        f"{job['deepspeed']}, torch.compile {job['compile']}"
    )
    if "seconds" not in results:
        lines += ["", "| | memory of a step, MiB |", "|---|---|"]
        lines += [f"| {name} | {taken / 2**20:,.0f} |" for name, taken in memory.items()]
        return "\n".join(lines)
    peaks = results["peak_flops_per_second"]
    products = "" if job["quantize"] == "none" else f", its products in {job['quantize']}"
    lines.append(f"- teacher in {results['teacher_dtype']}{products}, student's weights {results['precision']}")
    head = ["", "tokens/s", "ms", "spread", *(f"of {name} peak" for name in peaks), "memory of a step, MiB"]
    lines += ["", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, rate in results["tokens_per_second"].items():
        seconds = results["median_seconds"][name]
        cells = [name, f"{rate:,.0f}", f"{seconds * 1000:,.1f}", f"{results['spread'][name]:.0%}"]
        cells += [f"{results['flops'] / seconds / peak:.2f}" for peak in peaks.values()]
        cells.append(f"{memory[name] / 2**20:,.0f}" if name in memory else "")
        lines.append(f"| {' | '.join(cells)} |")
    split = results["split_seconds"]
    whole = sum(split.values())
    measured = ", ".join(f"{name} {peak / 1e9:,.0f} GFLOP/s" for name, peak in peaks.items())
    parts = ", ".join(f"{name} {part * 1000:,.1f} ms ({part / whole:.0%})" for name, part in split.items())
    lines += [
        "",
        f"- speed-up over literal {results['speedup_over_literal']:.2f}; step over floor "
        f"{results['step_over_floor']:.2f}; utilisation {results['utilisation']:.2f} of the faster peak",
        f"- literal over eager Transformers {results['literal_over_eager']:.2f} (time)",
        f"- peak of matrix products: {measured}",
        f"- split of a step: {parts}",
    ]
    return "\n".join(lines)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
