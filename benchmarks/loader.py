"""How fast training windows come out of token shards, and what they cost the disk.

    python benchmarks/loader.py [--tokens 100_000_000] [--length 128] [--batch 256] [--repeats 5] [--json FILE]
        [--figure FILE]

One process draws batches, in full shuffling and with `--data.shuffle_block 4096`, from shards of random tokens that it
writes to a temporary folder (TMPDIR chooses the disk).

- windows: `Windows.batch` from the page cache; of 10^6, 10^7, ... tokens in one shard up to `--tokens`, and of 1,000
  shards, which are 1,000 names of one small pair of files.
- order: `SampleOrder` alone, for corpora of 10^6 to 10^13 tokens that do not exist.
- opening: `open_corpus` on the 1,000 shards.
- cold: the first windows of a run, from an empty page cache: a whole group of blocks, since what is read early is used
  later in the group; or 16,384 in full shuffling. Amplification is bytes from the disk (`read_bytes` of
  /proc/self/io: what the disk delivers for this process, readahead included) over bytes of the windows. The cache is
  emptied by fsync and posix_fadvise(POSIX_FADV_DONTNEED) before anything maps the files. Less than was used means that
  the file system does not count or did not empty, and then no figure is given. MADV_RANDOM is the same with readahead
  switched off for the map. Amplification is at most the corpus over what is used of it, once all of it is in memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np
import torch

from benchmarks.cold import cold_read, readahead_kib
from benchmarks.corpora import SPECIAL, write_corpus_folder
from benchmarks.measure import environment, interleave
from benchmarks.memory import peak_growth
from megatinybert.config.general import DataConfig
from megatinybert.corpus.shards import TokenShard, open_corpus
from megatinybert.runtime.files import write_atomically
from megatinybert.samples.order import GROUP, SampleOrder
from megatinybert.samples.windows import TokenStream, Windows

_BLOCK = 4096  # what the documentation advises for a slow disk
_PAIRS: float = DataConfig.model_fields["pair_probability"].default
_ORDERS = {"full": 1, f"blocks of {_BLOCK:,}": _BLOCK}
_VIRTUAL = [10**power for power in range(6, 14)]  # tokens
_SHARDS = 1000
_TOKENS_OF_EACH = 10_000_000  # of the many shards
_FEWEST_DRAWN = 1 << 20  # tokens in one timed call
_COLD_WINDOWS = 1 << 14


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the way from token shards to training windows.")
    parser.add_argument("--tokens", type=int, default=100_000_000, help="of the largest corpus (default: 100 million)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window (default: 128)")
    parser.add_argument("--batch", type=int, default=256, help="windows asked for at a time (default: 256)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here as well")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw speed against the size of the corpus (.png)")
    options = parser.parse_args(arguments)
    for name, least in (("tokens", 10_000), ("length", 8), ("batch", 1), ("repeats", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: must be at least {least:,}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    results = run(options)
    print(table(results))
    if options.json:
        write_atomically(options.json, json.dumps(results, indent=1) + "\n")
    if options.figure:
        draw(results, options.figure)


def run(options: argparse.Namespace) -> dict[str, Any]:
    about = environment(torch.device("cpu"), ("numpy",))
    with tempfile.TemporaryDirectory(prefix="loader-benchmark-") as name:
        one = write_corpus_folder(Path(name, "one"), options.tokens)
        many = write_corpus_folder(Path(name, "many"), min(options.tokens, _TOKENS_OF_EACH), _SHARDS, links=True)
        return {
            "environment": about,
            "length": options.length,
            "batch": options.batch,
            "readahead_kib": readahead_kib(one),
            # Before anything maps the shards.
            "cold": _cold(one, options),
            "opening": _opening(many, options.repeats),
            "windows": _windows(one, many, options),
            "order": _order(options),
        }


def _cold(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for name, block in _ORDERS.items():
        for random in (False, True):
            windows = _open(open_corpus(folder).shards, options.length, block)
            # The first group is that much smaller where the block that is cut short by the corpus is among it.
            group = block * GROUP - -windows.samples % block
            drawn = min(group if block > 1 else _COLD_WINDOWS, windows.samples)
            found = cold_read(windows, drawn, options.batch, random)
            rows.append({"order": name, "random": random, "windows": drawn, "found": found})
    return rows


def _opening(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds to open the shards, and by how many bytes a fresh process grows."""
    times = interleave({"opening": lambda: open_corpus(folder)}, repeats, torch.device("cpu"))["opening"]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        taken = pool.submit(_bytes_of_opening, folder).result()
    return {"shards": _SHARDS, "median_seconds": times.median, "bytes": taken, "seconds": list(times.seconds)}


def _bytes_of_opening(folder: Path) -> int:
    return peak_growth(partial(open_corpus, folder), torch.device("cpu"))


def _windows(one: Path, many: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    (shard,) = open_corpus(one).shards
    sizes = [size for size in _VIRTUAL if size < shard.n_tokens] + [shard.n_tokens]
    corpora = [[replace(shard, n_tokens=size)] for size in sizes] + [open_corpus(many).shards]
    functions: dict[tuple[int, str], Callable[[], None]] = {}
    calls = -(-_FEWEST_DRAWN // (options.batch * options.length))
    for number, shards in enumerate(corpora):
        for name, block in _ORDERS.items():
            functions[number, name] = _Drawing(_open(shards, options.length, block), options.batch, calls)
    times = interleave(functions, options.repeats, torch.device("cpu"))
    tokens = calls * options.batch * options.length
    return [
        {
            "tokens": sum(shard.n_tokens for shard in corpora[number]),
            "shards": len(corpora[number]),
            "order": name,
            "tokens_per_second": tokens / spent.median,
            "spread": spent.spread,
            "seconds": list(spent.seconds),
        }
        for (number, name), spent in times.items()
    ]


class _Drawing:
    """Each call draws the next batches of a run."""

    def __init__(self, windows: Windows, batch: int, calls: int) -> None:
        self._windows, self._batch, self._calls, self._at = windows, batch, calls, count()

    def __call__(self) -> None:
        for _ in range(self._calls):
            self._windows.batch(next(self._at) * self._batch + np.arange(self._batch))


def _order(options: argparse.Namespace) -> list[dict[str, Any]]:
    calls = -(-_FEWEST_DRAWN // (options.batch * options.length))
    stride = options.length - 3  # of windows with pairs
    functions: dict[tuple[int, str], Callable[[], None]] = {}
    for tokens in _VIRTUAL:
        for name, block in _ORDERS.items():
            order = SampleOrder(tokens // stride, 0, block)
            functions[tokens, name] = partial(_draw_order, order, options.batch, calls)
    times = interleave(functions, options.repeats, torch.device("cpu"))
    return [
        {
            "tokens": tokens,
            "order": name,
            "microseconds_per_sample": spent.median * 1e6 / (calls * options.batch),
            "spread": spent.spread,
            "seconds": list(spent.seconds),
        }
        for (tokens, name), spent in times.items()
    ]


def _draw_order(order: SampleOrder, batch: int, calls: int) -> None:
    for call in range(calls):
        order(order.samples // 3 + call * batch + np.arange(batch))


def _open(shards: list[TokenShard], length: int, block: int) -> Windows:
    return Windows(TokenStream(shards), length, SPECIAL, SPECIAL.vocab_size, _PAIRS, 0, block)


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    opening, readahead = results["opening"], results["readahead_kib"]
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines += [
        f"- windows of {results['length']} tokens, {results['batch']} at a time",
        f"- {opening['shards']:,} shards opened in {opening['median_seconds'] * 1000:,.0f} ms, "
        f"{opening['bytes'] / 2**20:.1f} MiB",
        "",
        "| tokens | shards | order | million tokens/s | spread |",
        "|---|---|---|---|---|",
    ]
    for row in results["windows"]:
        cells = f"{row['tokens']:,} | {row['shards']:,} | {row['order']}"
        lines.append(f"| {cells} | {row['tokens_per_second'] / 1e6:,.1f} | {row['spread']:.0%} |")
    lines += ["", f"| tokens | {' | '.join(f'{name}, µs a sample' for name in _ORDERS)} |", "|---" * 3 + "|"]
    each = {(row["tokens"], row["order"]): row["microseconds_per_sample"] for row in results["order"]}
    for tokens in _VIRTUAL:
        lines.append(f"| {tokens:.0e} | {' | '.join(f'{each[tokens, name]:.2f}' for name in _ORDERS)} |")
    ahead = "an unknown amount" if readahead is None else f"{readahead:,} KiB"
    lines += ["", f"Cold, on a disk that reads {ahead} ahead:", ""]
    lines += ["| order | readahead | windows | amplification | million tokens/s |", "|---|---|---|---|---|"]
    for row in results["cold"]:
        figures = "not measurable on this file system | "
        if row["found"]:
            found = row["found"]
            figures = f"{found['amplification']:,.1f} | {found['tokens_per_second'] / 1e6:.1f}"
        mode = "MADV_RANDOM" if row["random"] else "as it is"
        lines.append(f"| {row['order']} | {mode} | {row['windows']:,} | {figures} |")
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Against the size of the corpus: tokens a second from the page cache, and the time of the order alone."""
    from matplotlib.figure import Figure

    from megatinybert.tracking.figures import save_picture

    figure = Figure(figsize=(9.0, 4.5), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    for name in _ORDERS:
        real = [row for row in results["windows"] if row["order"] == name and row["shards"] == 1]
        millions = [row["tokens_per_second"] / 1e6 for row in real]
        panels[0].plot([row["tokens"] for row in real], millions, "o-", label=name)
        virtual = [row for row in results["order"] if row["order"] == name]
        each = [row["microseconds_per_sample"] for row in virtual]
        panels[1].plot([row["tokens"] for row in virtual], each, "o-", label=name)
    panels[0].set(title="windows, from the page cache", ylabel="million tokens a second")
    panels[1].set(title="order alone", ylabel="µs a sample")
    for axis in panels:
        axis.set(xscale="log", xlabel="tokens of the corpus")
        axis.set_ylim(bottom=0)
        axis.grid(True, alpha=0.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False)
    save_picture(figure, path)


if __name__ == "__main__":
    main()
