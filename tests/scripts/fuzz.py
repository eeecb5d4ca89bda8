"""Reads files with random damage for a while, and tells how much of the code that reads them was run.

    python -m tests.scripts.fuzz SECONDS [SEED]

Indexes and manifests of shards, recipes and DeepSpeed files are damaged by bytes, numbers, cuts and repeated pieces,
by values that do not belong there, and recipes by all that YAML allows. What comes of each must be a result or a
refusal, in little memory. Anything else ends the run with the damaged content. SECONDS are for all together.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import yaml

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.hub import OFFLINE, NotInCache
from megatinybert.config.load import load_config
from megatinybert.config.schema import ConfigError
from megatinybert.corpus.manifest import MANIFEST
from megatinybert.corpus.shards import idx_path
from megatinybert.general import read_arguments
from megatinybert.training.deepspeed_blocks import check_blocks
from tests.helpers.hostile_recipes import hostile_recipe, many_aliases, pick
from tests.helpers.hostile_shards import damaged, read_everything, write_corpus
from tests.helpers.toys import REPOSITORY

MOST_BYTES = 256 << 20
_TRACED = 25  # of so many files, one is read with every line noted, which takes several times as long
_VALUES = (
    *(
        "null",
        "[]",
        "{}",
        "-1",
        "1e999",
        ".nan",
        "9" * 400,
        "9" * 5000,
        '"' + "x" * 5000 + '"',
        '"' + "x/" * 3000 + '"',
    ),
    *("true", "&a [*a]", "!!python/x y", "[" * 600 + "]" * 600, many_aliases(11)),
)

Damage = Callable[[bytes, np.random.Generator], bytes]


@dataclass(frozen=True)
class Target:
    """file: that is damaged. read: it. modules: of the library, that read it. refusals: errors that it may raise.

    damages: of which one is drawn for each copy.
    """

    name: str
    file: Path
    read: Callable[[], object]
    modules: Sequence[str]
    damages: Sequence[Damage]
    refusals: tuple[type[Exception], ...]


def targets(folder: Path) -> list[Target]:
    prefix = write_corpus(folder)
    index, manifest, settings = idx_path(prefix), folder / MANIFEST, folder / "settings.json"
    settings.write_text((REPOSITORY / "ds_configs" / "zero2-fp16.json").read_text())
    config = load_config(["--teacher.model", "teacher", "--data.shards", str(prefix), "--run.global_batch", "8"])

    def read_settings() -> None:
        found = load_ds_config(str(settings), config, 1)  # type: ignore[arg-type]
        check_blocks(settings, found.raw)

    shards = ["corpus/shards.py", "corpus/verify.py"]
    any_text: list[Damage] = [damaged, with_values]
    raised = (ValueError, OSError)
    return [
        Target("index", index, lambda: read_everything(prefix), shards, [damaged], raised),
        Target(
            "manifest", manifest, lambda: read_everything(folder), ["corpus/manifest.py", *shards], any_text, raised
        ),
        recipe("tinybert-4l", folder, prefix, []),
        recipe("family", folder, prefix, ["config/family.py"]),
        Target(
            "DeepSpeed file",
            settings,
            read_settings,
            ["config/deepspeed.py", "training/deepspeed_blocks.py"],
            any_text,
            (ConfigError,),
        ),
    ]


def recipe(name: str, folder: Path, prefix: Path, more: Sequence[str]) -> Target:
    """The shipped recipe `name`, of a teacher and shards that are here. more: modules that read it."""
    content = yaml.safe_load((REPOSITORY / "launch" / "recipes" / f"{name}.yaml").read_text())
    content["teacher"]["model"], content["data"]["shards"] = str(folder), str(prefix)
    content["run"]["output_dir"] = str(folder / "run")
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))

    damages: list[Damage] = [damaged, with_values, lambda _, draw: hostile_recipe(content, draw)]
    modules = ["config/recipe.py", "config/load.py", *more]
    return Target(
        f"recipe {name}",
        file,
        lambda: read_arguments(["--config", str(file)], look=True),
        modules,
        damages,
        (ConfigError, NotInCache),
    )


def fuzz(target: Target, seconds: float, seed: int) -> tuple[int, int, set[tuple[str, int]]]:
    """Damage and read: (files read, of them refused, lines run)."""
    draw, whole, lines = np.random.default_rng(seed), target.file.read_bytes(), set[tuple[str, int]]()
    wanted = {str(REPOSITORY / "megatinybert" / name) for name in target.modules}
    target.read()  # undamaged; what it imports takes time and memory once
    limit_memory()
    until, count, refused = time.monotonic() + seconds, 0, 0
    while time.monotonic() < until:
        content = target.damages[int(draw.integers(len(target.damages)))](whole, draw)
        target.file.write_bytes(content)
        if count % _TRACED == 0:
            sys.settrace(_tracer(wanted, lines))
        try:
            target.read()
        except target.refusals:
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{target.name}, seed {seed}, number {count}: {content!r}") from error
        finally:
            sys.settrace(None)
        count += 1
    target.file.write_bytes(whole)
    return count, refused, lines


def limit_memory() -> None:
    """Let this process have MOST_BYTES more than now; an allocation above that raises MemoryError."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (psutil.Process().memory_info().data + MOST_BYTES, most))


def with_values(whole: bytes, draw: np.random.Generator) -> bytes:
    """A copy in which a value or two are such as should not stand there, or lines are left out or exchanged."""
    lines = whole.decode().splitlines()
    for _ in range(draw.integers(1, 4)):
        at, other = (int(draw.integers(len(lines))) for _ in range(2))
        key, colon, _ = lines[at].partition(":")
        kind = draw.integers(4)
        if kind < 2 and colon:
            end = "," if lines[at].rstrip().endswith(",") else ""
            lines[at] = f"{key}: {pick(_VALUES, draw)}{end}"
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = lines[at].replace(key.strip() or " ", lines[other].partition(":")[0].strip() or "x", 1)
    return "\n".join(lines).encode()


def _tracer(wanted: set[str], lines: set[tuple[str, int]]) -> Callable[[FrameType, str, Any], Any]:
    def of_line(frame: FrameType, event: str, _: Any) -> Any:
        lines.add((frame.f_code.co_filename, frame.f_lineno))
        return of_line

    return lambda frame, event, _: of_line(frame, event, _) if frame.f_code.co_filename in wanted else None


def lines_of(name: str) -> set[tuple[str, int]]:
    """All lines of a module's functions. What runs as it is imported does not count."""
    path = str(REPOSITORY / "megatinybert" / name)
    module = compile(Path(path).read_text(), path, "exec")
    return {(path, line) for code in _functions(module) for *_, line in code.co_lines() if line}


def _functions(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            is_function = each.co_flags & 0x2  # CO_NEWLOCALS, which a class has not
            yield from ([each] if is_function else [])
            yield from _functions(each)


def main() -> None:
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns()
    print(f"seed {seed}")
    print("| file | seconds | files read | refused | lines run |")
    print("|---|---|---|---|---|")
    os.environ[OFFLINE] = "1"
    with tempfile.TemporaryDirectory() as folder:
        found = targets(Path(folder))
        for target in found:
            count, refused, run = fuzz(target, seconds / len(found), seed)
            all_lines = set().union(*map(lines_of, target.modules))
            share = f"{len(run & all_lines)} of {len(all_lines)} of {', '.join(target.modules)}"
            print(f"| {target.name} | {seconds / len(found):.0f} | {count:,} | {refused:,} | {share} |", flush=True)


if __name__ == "__main__":
    main()
