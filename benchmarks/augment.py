"""Masked-LM candidates in batches, against one forward pass for each masked word.

    python benchmarks/augment.py [--model FOLDER] [--length 16] [--words 128] [--repeats 5] [--json FILE]

literal is what the published augmentation does for a word: a batch of one, the library's whole BertForMaskedLM, the
likeliest tokens at the mask. (It also appends the sentence once more, unmasked, which literal leaves out.) batched is
the product's `Filler` on the same words. Both use all threads of torch and take turns in one process. The product
starts a process of one thread for each core instead; the last row is one such process.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np
import torch
import transformers

from benchmarks.measure import environment, interleave
from megatinybert.config.schema import shipped_students
from megatinybert.models.configuration import student_config
from megatinybert.models.load import teacher_dtype
from megatinybert.runtime.devices import choose_accelerator
from megatinybert.runtime.files import write_atomically
from megatinybert.tasks.augment.masked_lm import Filler, Query, top_ids
from megatinybert.tasks.augment.run import BATCH_TOKENS

_CANDIDATES = 15
_CLS, _SEP, _MASK, _FIRST_WORD = 101, 102, 103, 1000  # ids of BERT's vocabulary; their values do not matter


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time masked-LM candidates: one word a forward pass, or batches.")
    parser.add_argument(
        "--model",
        default="6L-384",
        help=f"a shape, whose weights are random: BERT-base, {', '.join(shipped_students())}, or that of a folder "
        "(default: 6L-384, which is MiniLM's)",
    )
    parser.add_argument(
        "--length", type=int, default=16, help="mean tokens of a sentence, which has half to three halves (default: 16)"
    )
    parser.add_argument("--words", type=int, default=256, help="words to find candidates of (default: 256)")
    parser.add_argument("--batch-tokens", type=int, help="of a batch (default: the product's)")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here as well")
    options = parser.parse_args(arguments)
    for name, least in (("length", 6), ("words", 1), ("repeats", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}: must be at least {least}")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    transformers.utils.logging.set_verbosity_error()
    results = run(options)
    print(table(results))
    if options.json:
        write_atomically(options.json, json.dumps(results, indent=1) + "\n")


def run(options: argparse.Namespace) -> dict[str, Any]:
    device = choose_accelerator()
    dtype = teacher_dtype("auto", device)
    if options.model == "BERT-base":
        config = transformers.BertConfig()
    else:
        config = student_config(options.model, transformers.BertConfig(), hidden_dropout=0.1, attention_dropout=0.1)
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config).eval().requires_grad_(False).to(device, dtype)
    queries = sentences(options.words, options.length, config.vocab_size)
    batch_tokens = options.batch_tokens or BATCH_TOKENS[device.type]
    filler = Filler(model, config.pad_token_id or 0, _CANDIDATES, batch_tokens)
    forms: dict[str, Callable[[], object]] = {
        "literal": lambda: literal(model, queries),
        "batched": lambda: filler.fill(queries),
        "batched, 1 thread": lambda: on_one_thread(lambda: filler.fill(queries)),
    }
    times = interleave(forms, options.repeats, device)
    median = {name: spent.median for name, spent in times.items()}
    found = [[filling[0] for filling in fillings] for fillings in filler.fill(queries)]
    same = [set(a) == set(b) for a, b in zip(literal(model, queries), found, strict=True)]
    return {
        "environment": environment(device),
        "model": options.model,
        "dtype": str(dtype).removeprefix("torch."),
        "words": len(queries),
        "mean_tokens": float(np.mean([len(query.ids) for query in queries])),
        "batch_tokens": batch_tokens,
        "speedup_over_literal": median["literal"] / median["batched"],
        "same_candidates": float(np.mean(same)),
        "median_seconds": median,
        "spread": {name: spent.spread for name, spent in times.items()},
        "seconds": {name: list(spent.seconds) for name, spent in times.items()},
    }


def sentences(words: int, length: int, vocab_size: int) -> list[Query]:
    """Sentences of random words, every other word of each masked in turn."""
    random = np.random.default_rng(0)
    queries: list[Query] = []
    first_word = min(_FIRST_WORD, vocab_size // 2)
    cls, sep, mask = (min(number, vocab_size - 1) for number in (_CLS, _SEP, _MASK))
    while len(queries) < words:
        size = int(random.integers(length // 2, length + length // 2 + 1))
        ids = np.concatenate([[cls], random.integers(first_word, vocab_size, size - 2), [sep]])
        for place in range(1, size - 1, 2):
            masked = ids.copy()
            masked[place] = mask
            queries.append(Query(masked, first_segment=size, mask=place, original=int(ids[place])))
    return queries[:words]


@torch.inference_mode()
def literal(model: transformers.BertForMaskedLM, queries: Sequence[Query]) -> list[list[int]]:
    """The likeliest tokens for each query, by a whole forward pass of its own."""
    found = []
    for query in queries:
        ids = torch.from_numpy(query.ids)[None].to(model.device)
        logits = model(input_ids=ids, token_type_ids=torch.zeros_like(ids)).logits[:, query.mask].float()
        logits[0, query.original] = -torch.inf
        found.append(top_ids(logits, _CANDIDATES)[0].tolist())
    return found


def on_one_thread(function: Callable[[], object]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        function()
    finally:
        torch.set_num_threads(threads)


def table(results: dict[str, Any]) -> str:
    """The results in Markdown."""
    lines = [f"- {name}: {value}" for name, value in results["environment"].items()]
    lines += [
        f"- {results['model']} of random weights in {results['dtype']}; {results['words']:,} words in sentences of "
        f"{results['mean_tokens']:.1f} tokens on average; batches of {results['batch_tokens']:,} tokens",
        "",
        "| | ms a word | words/s | spread |",
        "|---|---|---|---|",
    ]
    for name, seconds in results["median_seconds"].items():
        each = seconds / results["words"]
        lines.append(f"| {name} | {each * 1000:.2f} | {1 / each:,.0f} | {results['spread'][name]:.0%} |")
    lines += [
        "",
        f"- speed-up over literal {results['speedup_over_literal']:.1f}; the same candidates for "
        f"{results['same_candidates']:.1%} of the words",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
