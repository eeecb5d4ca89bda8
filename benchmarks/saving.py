"""How long does a checkpoint stop training: written at once, or beside it (--run.async_save)?

    python benchmarks/saving.py --students 4L-312 6L-768 --folder runs

One rank trains a student with AdamW from a teacher of random weights, and saves now and then, in turn at once and
beside training. "stopped" is how long training stands still. "cost" is by how much a save lengthens the steps from its
beginning to the publication, the standstill and slower steps together; of a save at once they are the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.job import Job, write_corpus, write_teacher
from benchmarks.measure import environment
from megatinybert.models.configuration import read_bert_config
from megatinybert.runtime import dist
from megatinybert.runtime.trainees import Trainees


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time saving at once and beside training.")
    parser.add_argument("--students", nargs="+", default=["4L-312", "6L-768"], metavar="SHAPE")
    parser.add_argument("--teacher", help="BERT folder (default: a BERT-base of random weights)")
    parser.add_argument("--folder", type=Path, default=Path("."), help="on the disk that is written to (default: here)")
    parser.add_argument("--length", type=int, default=128, metavar="S")
    parser.add_argument("--micro-batch", type=int, default=4, metavar="ROWS")
    parser.add_argument("--deepspeed", default="zero1")
    parser.add_argument("--repeats", type=int, default=7, help="saves of each kind (default: 7)")
    options = parser.parse_args(arguments)
    world = dist.start()
    for name, value in environment(world.device).items():
        print(f"- {name}: {value}")
    print(f"- medians of {options.repeats} saves of each kind, {options.deepspeed}, 1 rank\n")
    print(
        "| student | checkpoint | step | at once: stopped | beside: stopped | beside: cost | beside: published after |"
    )
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=options.folder) as scratch:
        teacher = options.teacher or write_teacher(Path(scratch) / "teacher", options.length)
        vocabulary = read_bert_config(teacher, "--teacher").vocab_size
        corpus = write_corpus(Path(scratch) / "corpus", vocabulary, 1_000_000)
        for student in options.students:
            job = Job(teacher, corpus, student, options.length, options.micro_batch, options.deepspeed)
            print(row(job, Path(scratch) / student, options.repeats, world), flush=True)
    dist.stop()


def row(job: Job, folder: Path, repeats: int, world: dist.World) -> str:
    """Train and save: the row of the table."""
    from benchmarks.variants import Bench
    from megatinybert.training.disk import size

    bench = Bench(job, world)
    step = bench.step()
    saver = saver_of(Trainees({"student": step.engine}), folder, world)
    times: dict[str, list[float]] = {name: [] for name in ("step", "at once", "beside", "cost", "published")}
    for number in range(1, 2 * repeats + 3):
        times["step"] += [seconds(step) for _ in range(4)]
        steps_alone = statistics.median(times["step"])
        began = time.perf_counter()
        at_once = number % 2 == 1
        saver.save(number, {"student": {}}, at_once)
        stopped = time.perf_counter() - began
        steps = 0
        while not at_once and saver.last != number:
            step()
            steps += 1
            saver.look()
        took = time.perf_counter() - began
        if number > 2:  # the first of each kind finds other memory than the later ones
            times["at once" if at_once else "beside"].append(stopped)
            if not at_once:
                times["cost"].append(took - steps * steps_alone)
                times["published"].append(saver.seconds)
    written = sum(path.stat().st_size for path in folder.glob(f"checkpoints/step-{number:08d}/**/*") if path.is_file())
    cells = [f"{statistics.median(values):.2f} s" for values in times.values()]
    step.engine.destroy()
    return f"| {job.student} | {size(written)} | {' | '.join(cells)} |"


def saver_of(trainees: Trainees, folder: Path, world: dist.World) -> Any:
    """What a run saves its only student by, in a folder, of which one checkpoint is kept."""
    from megatinybert.training.saving import Saver

    run = SimpleNamespace(keep_checkpoints=1, keep_every=None)
    stage = SimpleNamespace(checkpoints=folder / "checkpoints", config=SimpleNamespace(run=run))
    family: Any = SimpleNamespace(members={"student": stage}, first=stage, output=folder, checkpoint_bytes=0)
    return Saver(family, trainees, world, 0)


def seconds(step: Any) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
