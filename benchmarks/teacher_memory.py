"""What a teacher takes of each rank's memory: whole on every rank, and partitioned by ZeRO stage 3.

    python benchmarks/teacher_memory.py [--shape base large] [--dtype fp32 bf16] [--ranks 2] [--rows 4] [--length 128]
        [--student-layers 4]

Random weights in BERT's shapes are written to a folder and loaded by the product's own functions, by `--ranks`
processes on the CPU, which then make two forward passes. A pass keeps what TinyBERT's objective reads for a student of
`--student-layers`, by the uniform layer map. Told is the growth of each process's resident memory at its peak (VmHWM)
from before the teacher is loaded, the largest of all ranks, after loading and after the passes; and the time of the
second pass. A tiny teacher is loaded and run in the same way before, so that libraries are not counted, and glibc is
told to map blocks from 64 kB on (MALLOC_MMAP_THRESHOLD_), or freed weights would stay with the process.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.runtime.text_table import format_table
from tests.helpers.processes import exit_codes, start_ranks

if TYPE_CHECKING:
    from megatinybert.runtime.dist import World

_SHAPES = {
    "tiny": {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}

_WARM, _FOUND = "tiny", "found: "


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    if options.child:
        child(options)
        return
    rows = [("teacher", "dtype", "how", "MB loaded", "MB at the peak", "of the whole one's", "s a pass")]
    with tempfile.TemporaryDirectory(prefix="teacher-memory-") as folder:
        write(_WARM, Path(folder) / _WARM)
        for shape in options.shape:
            write(shape, Path(folder) / shape)
            for dtype in options.dtype:
                found = {how: run(options, Path(folder) / shape, dtype, how) for how in ("whole", "teacher-zero3")}
                for how, (loaded, peak, seconds) in found.items():
                    share = f"{peak / found['whole'][1]:.2f}"
                    rows.append(
                        (f"BERT-{shape}", dtype, how, f"{loaded:,.0f}", f"{peak:,.0f}", share, f"{seconds:.1f}")
                    )
                    print(rows[-1], flush=True)
    print(format_table(rows, right_aligned=range(3, 7)))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["base", "large"], choices=sorted(_SHAPES))
    parser.add_argument("--dtype", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rows", type=int, default=4, help="of a micro batch (default: 4)")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row (default: 128)")
    parser.add_argument("--student-layers", type=int, default=4, help="of the student that learns (default: 4)")
    parser.add_argument("--child", nargs=3, metavar=("FOLDER", "DTYPE", "HOW"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def write(shape: str, folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(**_SHAPES[shape])).save_pretrained(folder)


def run(options: argparse.Namespace, folder: Path, dtype: str, how: str) -> tuple[float, float, float]:
    """(MB after loading, MB after two passes, seconds of the second pass), the largest of all ranks.

    Raises RuntimeError with what a rank said that failed.
    """
    sizes = {"rows": options.rows, "length": options.length, "student-layers": options.student_layers}
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    words += ["--child", str(folder), dtype, how]
    logs = folder.parent / "logs"
    started = start_ranks(options.ranks, [__file__], words, logs, MALLOC_MMAP_THRESHOLD_="65536")
    codes = exit_codes(started, seconds=3600)
    said = [(logs / f"rank-{rank}.log").read_text() for rank in range(options.ranks)]
    if any(codes):
        raise RuntimeError(next(text for text, code in zip(said, codes, strict=True) if code))
    found = [json.loads(text.partition(_FOUND)[2].splitlines()[0]) for text in said]
    loaded, peak, seconds = (max(values) for values in zip(*found, strict=True))
    return loaded, peak, seconds


def child(options: argparse.Namespace) -> None:
    from megatinybert.runtime import dist

    world = dist.start()
    from benchmarks.memory import peak_growth

    folder, dtype, how = options.child
    use(Path(folder).parent / _WARM, dtype, how, options, world)
    found: list[float] = []
    grown = peak_growth(lambda: found.extend(use(Path(folder), dtype, how, options, world)), world.device)
    loaded, seconds = found
    dist.stop()
    print(f"{_FOUND}{json.dumps([loaded / 1e6, grown / 1e6, seconds])}")


def use(folder: Path, dtype_name: str, how: str, options: argparse.Namespace, world: World) -> tuple[float, float]:
    """Load a teacher and run it twice: (bytes at the peak so far after loading, seconds of the second pass)."""
    import torch

    from benchmarks.memory import resident
    from megatinybert.config.general import ObjectiveConfig
    from megatinybert.config.teacher_engine import load_teacher_ds_config
    from megatinybert.models.configuration import read_bert_config
    from megatinybert.models.load import DTYPES, load_teacher
    from megatinybert.objectives.tinybert import TinyBert
    from megatinybert.training.partitioned_teacher import load_partitioned

    dtype, config = DTYPES[dtype_name], read_bert_config(str(folder), "--teacher.model")
    depth, before = config.num_hidden_layers, resident("VmRSS")
    if how == "whole":
        teacher = load_teacher(str(folder), depth, dtype, world.device)
    else:
        raw = load_teacher_ds_config(how, str(dtype).removeprefix("torch."))
        teacher = load_partitioned(str(folder), config, [depth], dtype, raw, world)[depth]
    loaded = resident("VmHWM") - before
    student = copy.deepcopy(config)
    student.num_hidden_layers = min(options.student_layers, depth)
    wanted = TinyBert(ObjectiveConfig(), student, config).wanted
    ids = torch.randint(5, config.vocab_size, (options.rows, options.length))
    for _ in range(2):
        began = time.perf_counter()
        teacher.features({"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}, wanted)
        seconds = time.perf_counter() - began
    world.barrier()
    return loaded, seconds


if __name__ == "__main__":
    main()
