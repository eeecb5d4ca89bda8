"""What a step sends over the network at each ZeRO stage, against theory, and how long it takes over a slow link.

    python benchmarks/network.py [--nodes 2] [--deepspeed zero0 zero1 zero2 zero3 ...] [--rate 100mbit] [--json FILE]

It makes a little cluster on this machine (tests/cluster/cluster.sh, which needs root) with one rank on each node,
trains a student of about two million weights, and reads what each node has sent, and when, as steps are logged: first
over links as fast as the machine, and then over links of `--rate`. A name with `-reduce` is the file without it, with
DeepSpeed's use_multi_rank_bucket_allreduce off: each part of the gradient is reduced to the rank that owns it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import torch
from safetensors.torch import load_file

from benchmarks.measure import environment
from benchmarks.paper import step_bytes
from megatinybert.config.deepspeed import find_ds_config
from megatinybert.runtime.files import write_atomically
from tests.helpers import toys
from tests.helpers.cluster import PREFIX, PYTHON_GENERAL, Cluster, missing

_FAST, _SLOW = (6, 26), (32, 42)  # steps after which what was sent is read, before and after the links are made slow
_DEFAULT = ("zero0", "zero1", "zero2", "zero3", "zero1-reduce", "zero2-reduce")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what a step sends at each ZeRO stage.")
    parser.add_argument("--nodes", type=int, default=2, help="of one rank each (default: 2)")
    parser.add_argument("--deepspeed", nargs="+", default=list(_DEFAULT), metavar="NAME", help="files of ds_configs/")
    parser.add_argument("--rate", default="100mbit", help="of the slow links, as tc reads it (default: 100mbit)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    options = parser.parse_args(arguments)
    if options.nodes < 2:
        parser.error(f"--nodes {options.nodes}: must be at least 2")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    lacking = missing()
    if lacking:
        raise SystemExit(f"error: no little cluster here; missing: {lacking}")
    about = environment(torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="network-benchmark-") as name:
        folder = Path(name)
        number = os.getpid() % 250
        with Cluster(
            f"{PREFIX}{os.getpid()}", f"10.{80 + number % 20}.{number}", folder / "cluster", options.nodes
        ) as nodes:
            rows = [_measure(nodes, file, options.rate, folder) for file in options.deepspeed]
    results = {"environment": about, "nodes": options.nodes, "rate": options.rate, "rows": rows}
    print(table(results))
    if options.json:
        write_atomically(options.json, json.dumps(results, indent=1) + "\n")


def ds_config(name: str, folder: Path) -> str:
    """The file of a name; of one with `-reduce`, written in `folder`."""
    if not name.endswith("-reduce"):
        return name
    settings = json.loads(Path(find_ds_config(name.removesuffix("-reduce"))).read_text(encoding="utf-8"))
    settings["zero_optimization"]["use_multi_rank_bucket_allreduce"] = False
    file = folder / f"{name}.json"
    file.write_text(json.dumps(settings))
    return str(file)


def _measure(cluster: Cluster, name: str, rate: str, folder: Path) -> dict[str, Any]:
    """One run. Raises RuntimeError with what it said where it fails."""
    nodes = range(1, cluster.size + 1)
    words = _recipe(name, cluster.size, folder)
    processes = []
    for node in nodes:
        variables = {"MASTER_ADDR": "node-1", "MASTER_PORT": "29500", "WORLD_SIZE": str(cluster.size)}
        log = folder / name / f"log-{node}"
        processes.append(cluster.start(node, [*PYTHON_GENERAL, *words], log, RANK=str(node - 1), **variables))
    metrics = folder / name / "run" / "metrics.jsonl"
    seen = {}
    for step in (*_FAST, *_SLOW):
        _await_step(metrics, step, processes, folder / name / "log-1")
        seen[step] = (time.monotonic(), sum(map(cluster.sent, nodes)) / cluster.size)
        for node in nodes if step == _FAST[1] else ():
            limit = f"tc qdisc replace dev eth0 root tbf rate {rate} burst 64kb latency 2s"
            cluster("run", str(node), *limit.split())
    for process in processes:
        if process.wait():
            raise RuntimeError(f"{name} failed:\n{(folder / name / 'log-1').read_text()}")
    for node in nodes:
        cluster("run", str(node), *["tc", "qdisc", "delete", "dev", "eth0", "root"])
    weights = _weights(folder / name / "run")
    per_step = {key: (seen[b][1] - seen[a][1]) / (b - a) for key, (a, b) in (("fast", _FAST), ("slow", _SLOW))}
    seconds = {key: (seen[b][0] - seen[a][0]) / (b - a) for key, (a, b) in (("fast", _FAST), ("slow", _SLOW))}
    stage = int(name.removeprefix("zero")[0])
    return {
        "name": name,
        "weights": weights,
        "bytes": per_step,
        "seconds": seconds,
        "over_gradient": per_step["fast"] / (4 * weights),
        "theory": step_bytes(weights, stage, cluster.size) / (4 * weights),
    }


def _recipe(name: str, nodes: int, folder: Path) -> list[str]:
    inputs = folder / "inputs"
    if not inputs.exists():
        toys.write_teacher(inputs / "teacher")
        # Matrices of more than 100,000 weights: ZeRO 3 would not split smaller ones.
        toys.write_student_shape(inputs / "shape", layers=2, hidden=320)
        toys.write_dataset(inputs / "corpus")
    return toys.recipe(
        inputs,
        **{
            "run.output_dir": folder / name / "run",
            "run.global_batch": 2 * nodes,
            "run.micro_batch": 2,
            "run.max_steps": _SLOW[1] + 1,
            "run.held_out_interval": 1000,
            "run.compile": "never",
            "deepspeed": ds_config(name, folder),
        },
    )


def _await_step(metrics: Path, step: int, processes: list[subprocess.Popen[str]], log: Path) -> None:
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > step):  # there is a row of step 0
        if any(process.poll() for process in processes):
            raise RuntimeError(f"a run failed:\n{log.read_text()}")
        time.sleep(0.002)


def _weights(run: Path) -> int:
    """Trained weights: of the student and of the objective, without the student's pooler, which has no gradient."""
    files = [load_file(file) for file in (run / "student" / "model.safetensors", run / "objective.safetensors")]
    return sum(weight.numel() for weights in files for name, weight in weights.items() if "pooler" not in name)


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    weights = results["rows"][0]["weights"]
    lines += [
        f"- {results['nodes']} nodes of one rank; {weights:,} trained weights, gradient {4 * weights / 1e6:.2f} MB",
        "",
        f"| | sent per step and node, in gradients | theory | ms a step | ms over {results['rate']} |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in results["rows"]:
        fast, slow = (1000 * row["seconds"][key] for key in ("fast", "slow"))
        lines.append(
            f"| {row['name']} | {row['over_gradient']:.2f} | {row['theory']:.2f} | {fast:,.0f} | {slow:,.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
