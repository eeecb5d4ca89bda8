"""What it costs that a teacher's answer to a row is the same in every batch, and how far answers differ without it.

    python benchmarks/answers.py --teacher FOLDER --task rte --data FOLDER [--rows 512] [--batch 32] [--repeats 5]

A classifier with a new head on the teacher's body answers the task's first training rows: in the batches of two passes
of training (live), and in those that kept answers are computed in (kept). "as batched" runs a batch as it comes,
"Answering" is the product's (megatinybert/tasks/answering.py). Told are the CPU seconds for all rows, median of the
repeats in turns, and how the logits of the two passes of training and of the kept batches differ: of how many rows in
any bit, and by how much at most, as a share of the logits' standard deviation.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

import numpy as np
import torch

from benchmarks.measure import environment, native_dtypes, turns
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher
from megatinybert.runtime.text_table import format_table
from megatinybert.samples.batches import as_tensors
from megatinybert.tasks.answering import MULTIPLE, Answering
from megatinybert.tasks.classifiers import classifier_on
from megatinybert.tasks.kept_answers import _BATCH_TOKENS
from megatinybert.tasks.reading.files import TaskFiles
from megatinybert.tasks.reading.read import open_task, read_rows
from megatinybert.tasks.rows import BucketedRows, EncodedRows, encode_rows

_DEVICE = torch.device("cpu")
Batches = Callable[[], Iterator[np.ndarray]]


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    files = open_task(options.task, options.data)
    rows = encoded(files, options)
    shuffled = BucketedRows(rows, options.batch, seed=0)
    batches: dict[str, Batches] = {"kept": lambda: rows.by_length(_BATCH_TOKENS)}
    for epoch in range(2):
        batches[f"live {epoch}"] = functools.partial(of_epoch, shuffled, epoch, options.batch)
    sizes = {"rows": len(rows), "tokens": int(rows.lengths.sum())}
    of_pass = Answering(classifier(files, options)).rows
    shares = {way: f"{filled(rows, each, of_pass):.2f}" for way, each in batches.items()}
    more = {f"{way}: tokens in passes over those in batches": share for way, share in shares.items()}
    print(json.dumps(environment(_DEVICE) | sizes | more, indent=1), flush=True)
    table = [("dtype", "", "CPU s live", "CPU s kept", "rows that differ", "by at most")]
    for dtype in native_dtypes(_DEVICE):
        teachers = {name: kind(classifier(files, options).to(dtype)) for name, kind in _KINDS.items()}
        found = {name: [answers(each, rows, way) for way in batches.values()] for name, each in teachers.items()}
        seconds: dict[tuple[str, str], list[float]] = {
            (name, way): [] for name in teachers for way in ("live 0", "kept")
        }
        for name, way in turns(list(seconds), options.repeats):
            began = time.process_time()
            answers(teachers[name], rows, batches[way])
            seconds[name, way].append(time.process_time() - began)
        for name, ways in found.items():
            times = [f"{np.median(seconds[name, way]):.2f}" for way in ("live 0", "kept")]
            table.append((str(dtype).removeprefix("torch."), name, *times, *differences(ways)))
    print(format_table(table, right_aligned=range(2, 6)))


_KINDS: dict[str, type[Teacher]] = {"as batched": Teacher, "Answering": Answering}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True, metavar="FOLDER", help="a BERT folder")
    parser.add_argument("--task", required=True, help="a GLUE task, such as rte")
    parser.add_argument("--data", required=True, metavar="FOLDER", help="of its files")
    parser.add_argument("--rows", type=int, default=512, help="how many (default: 512)")
    parser.add_argument("--batch", type=int, default=32, help="rows of a batch in training (default: 32)")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args(arguments)


def encoded(files: TaskFiles, options: argparse.Namespace) -> EncodedRows:
    tokenizer = load_tokenizer(options.teacher)
    rows = itertools.islice(read_rows(files.task, files.train), options.rows)
    return encode_rows(rows, tokenizer, special_ids(tokenizer), 128, files.task.labels is None)


def classifier(files: TaskFiles, options: argparse.Namespace) -> torch.nn.Module:
    config = read_bert_config(options.teacher, "--teacher")
    return classifier_on(options.teacher, "--teacher", config, files.task, seed=0)


def of_epoch(shuffled: BucketedRows, epoch: int, batch: int) -> Iterator[np.ndarray]:
    count = shuffled.samples
    for start in range(0, count, batch):
        yield shuffled.ids(epoch * count + np.arange(start, min(start + batch, count)))


def filled(rows: EncodedRows, batches: Batches, of_pass: int) -> float:
    """Tokens that the passes of `Answering` compute, with all that fills them up, over those of the batches.

    of_pass: rows of each pass.
    """
    found = 0
    for ids in batches():
        lengths, counts = np.unique(-(-rows.lengths[ids] // MULTIPLE) * MULTIPLE, return_counts=True)
        found += int((lengths * -(-counts // of_pass) * of_pass).sum())
    return found / sum(len(ids) * int(rows.lengths[ids].max()) for ids in batches())


def answers(teacher: Teacher, rows: EncodedRows, batches: Batches) -> np.ndarray:
    """float32 (N, C)."""
    found: dict[int, np.ndarray] = {}
    for ids in batches():
        logits = teacher.features(as_tensors(rows.batch(ids), _DEVICE)).logits
        assert logits is not None
        found |= dict(zip(ids.tolist(), logits.float().numpy(), strict=True))
    return np.stack([found[number] for number in range(len(rows))])


def differences(found: list[np.ndarray]) -> tuple[str, str]:
    widest = np.max([np.abs(one - found[0]).max(axis=1) for one in found[1:]], axis=0)
    return f"{(widest > 0).sum():,} of {len(widest):,}", f"{widest.max() / found[0].std():.0e}"


if __name__ == "__main__":
    main()
